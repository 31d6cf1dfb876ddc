"""Reading weight files that strangers made: never more than tensors, and no code of theirs.

A checkpoint is a pickle, and a pickle is a program. Plain dictionaries of tensors are read by ``torch.load`` with
``weights_only=True``. A ZIP archive that also holds bookkeeping objects (mmengine writes ``meta`` and
``message_hub``) is read by a restricted unpickler: tensors and ordered dictionaries are rebuilt, everything else
becomes an inert placeholder. Files in the format of PyTorch before 1.6 have five pickles in a row, of which torch
hands four to ``pickle_module.load``: of these files nothing but tensors is read.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor

from models.api import EngineError

State = dict[str, Tensor]

_LFS = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_SMALLEST = 1024
_TORCHSCRIPT = "constants.pkl"
"""Only archives of compiled modules hold it; ``torch.load`` would hand them to ``torch.jit.load``."""


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
    if head.startswith(_ZIP):
        _check_archive(path, size)
        return
    if not head.startswith(b"\x80"):
        raise _bad(path, f"is not a PyTorch checkpoint: it begins with {head[:8]!r}")
    if size < _SMALLEST:
        raise _bad(path, f"is truncated: {size} bytes")


def _check_archive(path: Path, size: int) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        fact = f"is truncated: {size} bytes, and the directory at its end is missing or broken"
        raise _bad(path, fact) from error
    if any(record.filename.rsplit("/", 1)[-1] == _TORCHSCRIPT for record in records):
        raise _bad(path, "is a compiled TorchScript module, which is code, not weights")
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > size:
        raise _bad(path, "is a compressed archive; a PyTorch checkpoint never is")


def check_sums(path: Path) -> None:
    """Read the whole archive and compare the checksum of every record, which memory-mapping never does.

    Only ZIP checkpoints carry checksums; other files pass.

    Raises:
        EngineError: FAILED, with the first record that is damaged.
    """
    if not is_archive(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise _bad(path, f"is damaged: {_first_line(error)}") from error
    if damaged is not None:
        raise _bad(path, f"is damaged: the checksum of {damaged} inside it is wrong")


def is_archive(path: Path) -> bool:
    """Whether torch takes the file for a ZIP archive: by its first bytes alone."""
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


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
    archive = is_archive(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as error:
        if archive:
            return _load_restricted(path)
        fact = "holds more than tensors, in the format of PyTorch before 1.6, of which only tensors are read"
        raise _bad(path, fact) from error
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise _bad(path, f"cannot be read: {_first_line(error)}") from error


def _load_restricted(path: Path) -> Any:
    module = SimpleNamespace(Unpickler=_Restricted, load=_restricted_load, __name__="restricted")
    try:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=True, pickle_module=module)
    except Exception as error:  # whatever a damaged or hostile file provokes
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


class _Call:
    """A function that a pickle may call and not change: ``BUILD`` finds no attribute to set."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", function)

    def __setattr__(self, name: str, _: Any) -> None:
        raise pickle.UnpicklingError(f"a pickle may not set {name}")

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Call(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Call(torch._utils._rebuild_parameter),
}
"""All that a pickle is given by name; torch itself resolves the names of storages to a description of theirs."""


class _Restricted(pickle.Unpickler):
    """Resolves tensors and ordered dictionaries; everything else becomes ``_Inert``."""

    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), _Inert)


def _restricted_load(file: IO[bytes], **options: Any) -> Any:
    return _Restricted(file, **options).load()


def as_dict(value: Any) -> dict[Any, Any]:
    """A copy of a checkpoint's dictionary, made by the methods of its type: a pickle can hide an ordered one's
    behind attributes of their names. Empty for anything else.
    """
    return dict(dict.items(value)) if isinstance(value, dict) else {}


def _flat(path: Path, loaded: Any) -> State:
    held = as_dict(loaded)
    for wrapper in ("state_dict", "model_state_dict"):
        if isinstance(held.get(wrapper), dict):
            held = as_dict(held[wrapper])
    if not isinstance(loaded, dict):
        raise _bad(path, f"holds a {type(loaded).__name__}, not a dictionary of tensors")
    found = {key: value for key, value in held.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not found:
        raise _bad(path, "holds no tensors")
    return found


def _bad(path: Path, fact: str) -> EngineError:
    return EngineError("FAILED", f"{path} {fact}", "delete it and run `musecast weights pull`")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
