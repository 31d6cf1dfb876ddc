"""Reading weight files that strangers made: never more than tensors, never a class of theirs.

``torch.load`` with ``weights_only=True`` reads plain dictionaries of tensors. A checkpoint that also holds
book-keeping objects (mmengine writes ``meta`` and ``message_hub``) is read by a restricted unpickler instead:
tensors and ordered dictionaries are rebuilt, every other class becomes an inert placeholder.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from models.api import EngineError

State = dict[str, Tensor]

_LFS = b"version https://git-lfs"
_SMALLEST = 1024
_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
_STORAGES = {
    "FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "IntStorage",
    "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage",
}  # fmt: skip


def check_container(path: Path) -> None:
    """Refuse what cannot be a weights file before any unpickler sees it.

    Raises:
        EngineError: FAILED, with what the file is instead.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(_LFS):
        raise _bad(path, f"is a Git LFS pointer of {size} bytes, not the weights")
    if head.lstrip()[:1] == b"<":
        raise _bad(path, f"is a web page of {size} bytes, not the weights (a failed download)")
    if path.suffix == ".safetensors":
        if size < 8 or int.from_bytes(head[:8], "little") + 8 > size:
            raise _bad(path, f"is truncated: {size} bytes are less than its header announces")
        return
    if head[257:262] == b"ustar":
        raise _bad(path, "is a checkpoint in the old tar format, which is not read")
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise _bad(path, f"is truncated: {size} bytes, and the directory at its end is missing")
        return
    if not head.startswith(b"\x80"):
        raise _bad(path, f"is not a PyTorch checkpoint: it begins with {head[:8]!r}")
    if size < _SMALLEST:
        raise _bad(path, f"is truncated: {size} bytes")


def load_state(path: Path) -> State:
    """The flat state dictionary in ``path``; tensors of a ZIP checkpoint are memory-mapped.

    A dictionary under ``state_dict`` or ``model_state_dict`` is taken out of its wrapper.

    Raises:
        EngineError: FAILED when the file is not what it should be.
    """
    return _flat(path, load_checkpoint(path))


def load_checkpoint(path: Path) -> Any:
    """What the checkpoint holds, with the classes of strangers replaced by placeholders.

    Raises:
        EngineError: FAILED when the file is not what it should be.
    """
    check_container(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    mapped = zipfile.is_zipfile(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        return _load_restricted(path, mapped)
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise _bad(path, f"cannot be read: {_first_line(error)}") from error


def _load_restricted(path: Path, mapped: bool) -> Any:
    module = SimpleNamespace(Unpickler=_Restricted, load=pickle.load, loads=pickle.loads, __name__="restricted")
    try:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=mapped, pickle_module=module)
    except Exception as error:  # whatever a hostile file provokes
        raise _bad(path, f"cannot be read: {_first_line(error)}") from error


class _Inert:
    """Stands for an object of a class that is not loaded; takes whatever an unpickler does to it."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return self

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...

    def append(self, _: Any) -> None:
        """Swallow a list item."""

    def extend(self, _: Any) -> None:
        """Swallow list items."""


class _Restricted(pickle.Unpickler):
    """Resolves tensors and ordered dictionaries; everything else becomes ``_Inert``."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return getattr(torch, name)
        return _ALLOWED.get((module, name), _Inert)


def _flat(path: Path, loaded: Any) -> State:
    for wrapper in ("state_dict", "model_state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping):
        raise _bad(path, f"holds a {type(loaded).__name__}, not a dictionary of tensors")
    found = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not found:
        raise _bad(path, "holds no tensors")
    return found


def _bad(path: Path, fact: str) -> EngineError:
    return EngineError("FAILED", f"{path} {fact}", "delete it and run `musecast weights pull`")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
