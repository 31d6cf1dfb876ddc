"""Downloading the official files: resumed, checked, each straight to its place below ``weights_dir``.

Hugging Face files come through ``huggingface_hub``, which resumes and honours ``HF_ENDPOINT`` (a mirror) and
``HF_TOKEN``. The one file that is not there (S3FD) comes by plain HTTPS; its name carries the start of its
SHA-256, which is checked.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from models.errors import EngineError
from models.musetalk.layout import Component, Download

TIMEOUT_S = 30.0
_CHUNK = 1 << 20

Step = Callable[[str, int, int], None]
"""``step(file, bytes done, bytes in all)``."""


def pull(root: Path, components: Iterable[Component], step: Step, endpoint: str | None = None) -> list[str]:
    """Fetch what is not there yet; returns the paths that were fetched.

    Args:
        root: ``weights_dir``.
        components: which networks.
        step: told of every file; Hugging Face files show their own progress bar besides.
        endpoint: another server than Hugging Face's; None: ``HF_ENDPOINT`` or Hugging Face.

    Raises:
        EngineError: FAILED, naming the file, the reason and what can be done without this machine's network.
    """
    fetched = []
    for component in components:
        found = component.find(root)
        for item in component.downloads:
            target = root / item.to
            if target.is_file() or (found is not None and target.suffix == found.suffix):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if item.url:
                fetch_url(item, target, step)
            else:
                fetch_hub(item, target, step, endpoint)
            fetched.append(item.to)
    return fetched


def fetch_hub(item: Download, target: Path, step: Step, endpoint: str | None) -> None:
    """Fetch a file of a Hugging Face repository to ``target``; what arrived of it before is continued.

    Raises:
        EngineError: NOT_FOUND when the repository has no such file, else FAILED with the reason.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    step(item.to, 0, 0)
    url = hf_hub_url(item.repo, item.file, endpoint=endpoint)
    part = target.parent / ".part"
    try:
        meta: Any = get_hf_file_metadata(url, endpoint=endpoint)
        path = Path(hf_hub_download(item.repo, item.file, local_dir=part, endpoint=endpoint))
    except EntryNotFoundError as error:
        fact = f"{item.repo} has no file {item.file}"
        raise EngineError("NOT_FOUND", fact, "look for a newer musecast: the repository has changed") from error
    except Exception as error:  # also those of its HTTP client, whose names vary between versions
        raise _failed(item, f"{item.repo}/{item.file}", str(error).split("\n", 1)[0]) from error
    size = path.stat().st_size
    digest = str(meta.etag or "")
    if meta.size is not None and size != meta.size:
        raise _failed(item, url, f"{size} bytes arrived of {meta.size}")
    if len(digest) == 64 and sha256(path) != digest:
        path.unlink()
        raise _failed(item, url, "its SHA-256 differs from the one that the server announces")
    os.replace(path, target)
    step(item.to, size, size)


def fetch_url(item: Download, target: Path, step: Step) -> None:
    """Fetch ``item.url`` to ``target``; a partial file beside it is continued.

    Raises:
        EngineError: FAILED, with the reason.
    """
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(item.url, headers={"User-Agent": "musecast"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            if answer.status != 206:
                have = 0
            total = have + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if have else "wb") as file:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    step(item.to, have, total)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to fetch
            raise _failed(item, item.url, f"the server answers {error.code}") from error
    except OSError as error:
        raise _failed(item, item.url, f"{error}; what arrived is kept and continued next time") from error
    else:
        if total and have < total:
            raise _failed(item, item.url, f"{have} bytes arrived of {total}; run it again to continue")
    if not sha256(part).startswith(item.sha256_prefix):
        part.unlink()
        raise _failed(item, item.url, f"its SHA-256 does not begin with {item.sha256_prefix}")
    os.replace(part, target)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(item: Download, source: str, reason: str) -> EngineError:
    return EngineError(
        "FAILED",
        f"cannot fetch {source}: {reason}",
        f"run it again, set HF_ENDPOINT to a mirror, or copy the file to <weights_dir>/{item.to}",
        retryable=True,
    )
