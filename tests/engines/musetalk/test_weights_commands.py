"""``musecast weights``: what a user types between an empty folder and an engine that speaks."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from clients.cli.app import run
from models.musetalk.weights import load_converted
from tests.engines.musetalk import test_pull as hub_of
from tests.engines.musetalk.checkpoints import tiny
from tests.support.limits import COMMAND_S
from tests.support.processes import MUSECAST


def weights(root: Path, *arguments: str, code: int = 0) -> str:
    """Standard output, or what is wrong. In this process, for each one would import torch anew."""
    out, err = io.StringIO(), io.StringIO()
    environment = {"MUSECAST_WEIGHTS_DIR": str(root), "COLUMNS": "120"}
    with mock.patch.dict(os.environ, environment), redirect_stdout(out), redirect_stderr(err):
        found = run(["weights", *arguments])
    assert found == code, (arguments, found, out.getvalue(), err.getvalue())
    return out.getvalue() + err.getvalue()


def pull(root: Path, *arguments: str, code: int = 0, endpoint: str = "http://127.0.0.1:9") -> str:
    """The same of ``weights pull``, in a process of its own: ``HF_ENDPOINT`` is read when the hub is imported."""
    environment = os.environ | {"MUSECAST_WEIGHTS_DIR": str(root), "HF_ENDPOINT": endpoint, "COLUMNS": "120"}
    done = subprocess.run(
        [MUSECAST, "weights", "pull", *arguments],
        check=False, capture_output=True, text=True, timeout=COMMAND_S, env=environment,
    )  # fmt: skip
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture
def copy(official: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(official, tmp_path / "weights", ignore=shutil.ignore_patterns("converted")))


def test_list_names_every_file_and_says_which_is_there(copy: Path) -> None:
    (copy / "whisper" / "pytorch_model.bin").unlink()
    found = json.loads(weights(copy, "list", "--json"))
    assert found["weights_dir"] == str(copy)
    rows = {row["name"]: row for row in found["components"]}
    assert set(rows) >= {"unet-v15", "unet-v10", "vae", "whisper", "dwpose", "face-parse", "s3fd"}
    assert rows["vae"]["bytes"] > 0
    assert (rows["whisper"]["file"], rows["whisper"]["bytes"]) == ("whisper/pytorch_model.bin", None)
    assert "missing" in weights(copy, "list")


def test_verify_names_what_is_wrong_and_convert_mends_none_of_it(copy: Path) -> None:
    pointer = copy / "musetalk" / "pytorch_model.bin"
    whole = pointer.read_bytes()
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3400000000\n")
    reports = {one["name"]: one for one in json.loads(weights(copy, "verify", "--json", code=1))}
    assert {name for name, one in reports.items() if one["status"] == "bad"} == {"unet-v10"}
    assert reports["s3fd"]["status"] == "missing"
    assert "is a Git LFS pointer" in reports["unet-v10"]["problems"][0]
    assert "musecast weights pull" in weights(copy, "convert", code=1)
    pointer.write_bytes(whole)
    assert "vae" in weights(copy, "convert")
    assert load_converted(copy, "vae")[1].keys() == tiny("vae", 1).state_dict().keys()


def test_pull_takes_the_mirror_of_the_environment(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    assert "there is no network 'nonsense'" in pull(tmp_path, "nonsense", code=1)
    text = pull(tmp_path, "vae", code=1)
    assert "stabilityai/sd-vae-ft-mse/config.json" in text
    assert "HF_ENDPOINT" in text
    with hub_of.serving() as server:
        text = pull(tmp_path, "vae", endpoint=hub_of.address(server))
    assert "2 files fetched" in text
    for name in ("config.json", "diffusion_pytorch_model.bin"):
        assert (tmp_path / "sd-vae" / name).read_bytes() == hub_of.FILES[name]
