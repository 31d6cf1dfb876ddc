"""Weight files that are programs: none of them runs, wherever in the file it hides."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from models.api import EngineError
from models.musetalk.layout import COMPONENTS
from models.musetalk.pickles import load_checkpoint, load_state
from models.musetalk.weights import convert, verify
from tests.engines.musetalk import checkpoints as made

LEGACY = ("magic number", "protocol", "sys_info", "object", "storage keys")
"""The five pickles of a file of PyTorch before 1.6, in their order."""
TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3, dtype=torch.float16)}


class Program:
    """What a pickle of it does when it is loaded without care: leave a file behind."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._marker}",)


def legacy(place: str, program: object) -> bytes:
    """A file of PyTorch before 1.6 with ``program`` in one of its pickles."""
    out = io.BytesIO()
    torch.save(TENSORS, out, _use_new_zipfile_serialization=False)
    out.seek(0)
    parts, at = [], 0
    for _ in LEGACY:
        _Skimmer(out).load()
        parts.append(out.getvalue()[at : out.tell()])
        at = out.tell()
    parts[LEGACY.index(place)] = pickle.dumps(program, 2)
    return b"".join(parts) + out.getvalue()[at:] + b"\0" * 2048


class _Skimmer(pickle.Unpickler):
    """Only to find where one pickle ends and the next begins."""

    def find_class(self, module: str, name: str) -> Any:
        return lambda *_: {}

    def persistent_load(self, pid: Any) -> Any:
        return None


def archive(program: object) -> bytes:
    """Today's format, with the program beside the tensors."""
    out = io.BytesIO()
    torch.save({"state_dict": TENSORS, "meta": program}, out)
    return out.getvalue()


def tar(program: object) -> bytes:
    """The oldest format; its first name begins as a pickle does."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name in ("\x80", "storages", "tensors", "pickle", "sys_info"):
            data = pickle.dumps(program, 2)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    data = bytearray(out.getvalue())
    data[0] = 0x80
    data[257:263] = b"\0" * 6  # the mark of the format is not needed
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    return bytes(data)


def script(program: object) -> bytes:
    """A compiled module, which torch would run as such."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in ("a/constants.pkl", "a/data.pkl", "a/version"):
            file.writestr(name, pickle.dumps(program, 2))
    return out.getvalue()


HOSTILE: dict[str, Callable[[object], bytes]] = {
    **{f"legacy {place}": (lambda program, place=place: legacy(place, program)) for place in LEGACY},
    "zip": archive, "tar": tar, "script": script,
    "pickle with an archive behind it": lambda program: legacy("sys_info", program) + archive(program),
}  # fmt: skip


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_file_runs_a_program(
    kind: str, forced: bool, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:  # asked by the environment to be careless
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "unet.pth"
    path.write_bytes(HOSTILE[kind](Program(marker)))
    if kind == "zip":  # the tensors beside it are of use
        assert type(load_checkpoint(path)["meta"]).__name__ == "_Inert"
    else:
        with pytest.raises(EngineError) as caught:
            load_checkpoint(path)
        assert caught.value.code == "FAILED"
        assert str(path) in caught.value.message
    assert not marker.exists()


@pytest.mark.parametrize("place", LEGACY)
def test_the_programs_are_real(place: str, marker: Path, tmp_path: Path) -> None:
    """Read without care, each of them runs: the tests above can fail."""
    path = tmp_path / "unet.pth"
    path.write_bytes(legacy(place, Program(marker)))
    with suppress(Exception):  # what torch says of the file afterwards
        torch.load(path, weights_only=False)
    assert marker.exists()


def test_neither_verifying_nor_converting_runs_one(official: Path, marker: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(official, tmp_path / "w", ignore=shutil.ignore_patterns("converted")))
    kinds = iter([*HOSTILE, *HOSTILE])
    for component in COMPONENTS:
        if component.find(root) is None:
            (root / component.files[0]).parent.mkdir(exist_ok=True)
            (root / component.files[0]).touch()
        path = component.find(root)
        assert path is not None
        path.write_bytes(HOSTILE[next(kinds)](Program(marker)))
    assert {report.status for report in verify(root)} == {"bad"}
    (root / "whisper" / "config.json").unlink()
    (root / "whisper" / "pytorch_model.bin").rename(root / "whisper" / "tiny.pt")
    for component in COMPONENTS:
        with pytest.raises(EngineError):
            convert(root)
        (root / component.files[0]).unlink(missing_ok=True)
    assert not marker.exists()


def test_tensors_of_the_old_format_are_read(tmp_path: Path) -> None:
    path = tmp_path / "79999_iter.pth"
    torch.save(made.tiny("bisenet", 4).state_dict(), path, _use_new_zipfile_serialization=False)
    state = load_state(path)
    assert all(torch.equal(state[key], value) for key, value in made.tiny("bisenet", 4).state_dict().items())


def test_a_strangers_classes_are_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: Path) -> None:
    path = tmp_path / "hostile.pth"
    torch.save({"state_dict": TENSORS, "message_hub": made.Unimportable(), "meta": Program(marker)}, path)
    monkeypatch.setitem(sys.modules, "tests.engines.musetalk.checkpoints", None)
    assert type(load_checkpoint(path)["message_hub"]).__name__ == "_Inert"
    state = load_state(path)
    assert all(torch.equal(state[key], value) for key, value in TENSORS.items())
    assert not marker.exists()


def test_what_a_file_may_call_it_cannot_change(tmp_path: Path) -> None:
    """``BUILD`` sets attributes of whatever is on the stack: the function's defaults would be the process's."""
    path = tmp_path / "hostile.pth"
    out = io.BytesIO()
    torch.save({"state_dict": TENSORS, "meta": Program(tmp_path / "ran")}, out)
    function = torch._utils._rebuild_tensor_v2
    before = function.__defaults__
    program = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
        b"N}X" + struct.pack("<I", 12) + b"__defaults__" + b"K\x01\x85s\x86b."
    )
    with zipfile.ZipFile(io.BytesIO(out.getvalue())) as old, zipfile.ZipFile(path, "w") as new:
        for record in old.infolist():
            data = program if record.filename.endswith("data.pkl") else old.read(record)
            new.writestr(record.filename, data)
    with pytest.raises(EngineError, match="may not set __defaults__"):
        load_checkpoint(path)
    assert function.__defaults__ == before


@pytest.mark.parametrize("name", ["items", "get", "keys", "__class__"])
def test_a_dictionary_whose_methods_are_hidden_is_read_by_those_of_its_type(tmp_path: Path, name: str) -> None:
    state = OrderedDict(TENSORS)
    state.__dict__[name.upper()] = 7  # saving it needs the methods
    whole = io.BytesIO()
    torch.save({"state_dict": state}, whole)
    path = tmp_path / "hidden.pth"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for record in source.infolist():
            target.writestr(record.filename, source.read(record).replace(name.upper().encode(), name.encode()))
    assert load_state(path).keys() == TENSORS.keys()


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(EngineError, match="compressed"):
        load_checkpoint(path)
