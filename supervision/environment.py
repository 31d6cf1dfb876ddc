"""What the daemon's processes get of its environment: what they need, and not what else a shell holds."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
from collections.abc import Iterable, Mapping

from supervision.place import SCRATCH_NAME

PASSED = (
    # who and where
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "XDG_*",
    # the terminal, for the log
    "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "JOURNAL_STREAM",
    # the interpreter and native libraries
    "PYTHON*", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_*",
    # threads and processors
    "OMP_*", "KMP_*", "GOMP_*", "GOTO_*", "OPENBLAS_*", "MKL_*", "NUMEXPR_*", "OPENCV_*", "CT2_*",
    # GPUs and what runs on them
    "CUDA_*", "NVIDIA_*", "CUDNN_*", "CUBLAS_*", "TORCH_*", "PYTORCH_*", "TRITON_*", "CC", "CXX",
    # the way to model files and to engines elsewhere
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE",
    # musecast's own
    "MUSECAST_*",
)  # fmt: skip
"""Names, and beginnings of names. ``docs/operations.md`` repeats them."""


def passed_on(environ: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The part of ``environ`` that a child process gets.

    Args:
        environ: the daemon's own environment.
        more: names or patterns beside ``PASSED`` (``supervisor.pass_environment``).
    """
    patterns = (*PASSED, *more)
    return {name: value for name, value in environ.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)}


class ChildEnvironment:
    """Makes each process's environment, its folder for temporary files included.

    Args:
        runtime_dir: ours alone; see ``RuntimeDir``, which removes the folders at the daemon's start and end.
        more: see ``passed_on``.
    """

    def __init__(self, runtime_dir: str, more: Iterable[str] = ()) -> None:
        self._scratch = os.path.join(runtime_dir, SCRATCH_NAME)
        self._more = tuple(more)

    def of(self, instance: str, own: Mapping[str, str]) -> dict[str, str]:
        """For the next incarnation of ``instance``; what the one before it left in its folder is removed.

        Args:
            instance: e.g. "encode.0".
            own: variables of this instance, over those that are passed on.

        Raises:
            OSError: the folder cannot be made.
        """
        home = os.path.dirname(self._scratch)
        if not os.path.isdir(home):  # without the resolved configuration and all sockets a process could only fail
            gone = "runtime_dir was deleted under the running daemon, nothing can start: a restart makes it anew"
            raise FileNotFoundError(errno.ENOENT, gone, home)
        folder = os.path.join(self._scratch, instance)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return {**passed_on(os.environ, self._more), **own, "TMPDIR": folder}
