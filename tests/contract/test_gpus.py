"""One lip-sync process per GPU, from outside: what each process was started with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import Stranger
from tests.support.daemon import LIGHT, Daemon, stage_row, supervisor_command
from tests.support.limits import COMMAND_S

AUTO = ("stages.lipsync.devices=auto", "engines.tts=[espeak]")


def started_with(pid: int) -> dict[str, str]:
    """The environment at exec, before any code of the process ran."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_each_lipsync_process_is_started_with_a_gpu_of_its_own_and_nobody_else_with_any(
    start_daemon: Callable[..., Daemon], connect: Callable[[Daemon], Stranger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is ``warp``, which has no use for a GPU: what counts is what the process could have seen."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f, MIG-9a,-1,3")
    daemon = start_daemon(*AUTO)
    stranger = connect(daemon)
    status = stranger.control.ok("status")
    for instance, gpu in (("lipsync.0", "GPU-8f"), ("lipsync.1", "MIG-9a")):
        environment = started_with(stage_row(status, instance)["pid"])
        assert environment["CUDA_VISIBLE_DEVICES"] == gpu
        assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    others = [row for row in status["stages"] if row["stage"] != "lipsync" and row["pid"]]
    assert len(others) >= 6
    for row in others:
        assert started_with(row["pid"])["CUDA_VISIBLE_DEVICES"] == ""
    assert sum(row["stage"] == "lipsync" for row in status["stages"]) == 2


def test_auto_without_a_gpu_is_one_process_on_the_cpu_with_a_warning(
    start_daemon: Callable[..., Daemon], connect: Callable[[Daemon], Stranger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    daemon = start_daemon(*AUTO, *LIGHT)
    stranger = connect(daemon)
    status = stranger.control.ok("status")
    assert [row["instance"] for row in status["stages"] if row["stage"] == "lipsync"] == ["lipsync.0"]
    assert stage_row(status, "lipsync.0")["device"] == "cpu"
    assert "gpu.none" in daemon.log.read_text()


def test_a_gpu_that_is_not_there_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    command = supervisor_command("stages.lipsync.devices=cuda:1", f"runtime_dir={tmp_path}/run")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert refused.returncode == 78
    assert "stages.lipsync.devices: cuda:1 is not there" in refused.stderr
