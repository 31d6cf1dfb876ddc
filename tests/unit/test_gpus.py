"""One lip-sync process per GPU, each seeing its own."""

from pathlib import Path

import pytest

from configs.load import ConfigError
from configs.schema import Config, Stage, Stages
from supervision.gpus import place_stages, visible_gpus, without_gpu
from supervision.specs import make_specs


def test_gpus_are_those_of_the_driver_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus({}, str(tmp_path)) == ["0", "1"]
    assert visible_gpus({}, str(tmp_path / "missing")) is None
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}, str(tmp_path)) == ["1"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-8f,GPU-9a"}, str(tmp_path)) == ["GPU-8f", "GPU-9a"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "MIG-GPU-8f/1/0"}, str(tmp_path)) == ["MIG-GPU-8f/1/0"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, str(tmp_path)) == []
    for nothing_after in ("3, 1,-1,0", "3,1,,0", "3,1,NoDevFiles"):
        assert visible_gpus({"CUDA_VISIBLE_DEVICES": nothing_after}, str(tmp_path)) == ["3", "1"]


def seen_by(config: Config, gpus: list[str] | None, stage: str = "lipsync") -> list[str]:
    specs = [s for s in make_specs(place_stages(config, gpus), "config.json", "boot") if s.stage == stage]
    return [spec.env["CUDA_VISIBLE_DEVICES"] for spec in specs]


def test_a_named_gpu_is_the_nth_of_those_that_the_daemon_may_use() -> None:
    config = Config(stages=Stages(lipsync=Stage(devices="cuda:1,cuda:0")))
    assert seen_by(config, ["5", "7"]) == ["7", "5"]
    assert seen_by(config, ["GPU-8f", "MIG-9a"]) == ["MIG-9a", "GPU-8f"]
    assert seen_by(config, None) == ["1", "0"]
    for too_few in (["5"], []):
        with pytest.raises(ConfigError, match=r"stages\.lipsync\.devices: cuda:1 is not there") as caught:
            place_stages(config, too_few)
        assert caught.value.exit_code == 78


def test_more_processes_than_gpus_share_them() -> None:
    config = Config(stages=Stages(lipsync=Stage(devices="cuda:0,cuda:1", instances=3)))
    assert seen_by(config, ["0", "1"]) == ["0", "1", "0"]


def test_only_lipsync_is_spread_over_the_gpus() -> None:
    config = Config(stages=Stages(lipsync=Stage(devices="auto"), prepare=Stage(devices="auto")))
    assert seen_by(config, ["0", "1"]) == ["0", "1"]
    assert seen_by(config, ["0", "1"], "prepare") == ["0"]


def test_who_asked_for_any_gpu_and_got_none_is_named() -> None:
    config = Config(stages=Stages(lipsync=Stage(devices="auto")))
    for gpus, without in ((["0"], []), ([], ["lipsync"]), (None, ["lipsync"])):
        assert without_gpu(config, place_stages(config, gpus)) == without
    assert without_gpu(Config(), place_stages(Config(), [])) == []


def test_auto_starts_one_lipsync_process_per_gpu_and_one_on_the_cpu_without() -> None:
    config = Config(stages=Stages(lipsync=Stage(devices="auto")))
    for gpus, seen in ((["0", "1"], ["0", "1"]), (["GPU-8f"], ["GPU-8f"]), ([], [""])):
        specs = [s for s in make_specs(place_stages(config, gpus), "config.json", "boot") if s.stage == "lipsync"]
        assert [s.env["CUDA_VISIBLE_DEVICES"] for s in specs] == seen
        assert [s.instance for s in specs] == [f"lipsync.{n}" for n in range(len(seen))]


def test_two_engines_in_the_chain_have_a_standing_fallback() -> None:
    config = Config()
    assert all(s.stage != "fallback" for s in make_specs(config, "c", "b"))
    chain = place_stages(Config(engines=type(config.engines)(lipsync=["musetalk", "warp"])), [])
    assert [s.instance for s in make_specs(chain, "c", "b") if s.stage == "fallback"] == ["fallback.0"]
