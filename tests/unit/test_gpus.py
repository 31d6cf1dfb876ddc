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


UUIDS = [f"GPU-{n}f0c7ac6-2f5d-4d6e-9d55-6b3c1f0e7a0{n}" for n in range(2)]


def driver(folder: Path, uuids: list[str]) -> str:
    """What the driver tells of its GPUs; their folders are made in the wrong order."""
    for number in reversed(range(len(uuids))):
        gpu = folder / f"0000:0{number + 1}:00.0"
        gpu.mkdir()
        (gpu / "information").write_text(f"Model: \t\t X\nGPU UUID: \t {uuids[number]}\nBlacklisted: No\n")
    return str(folder)


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, UUIDS),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, UUIDS[::-1]),
        ({"CUDA_VISIBLE_DEVICES": f"1,{UUIDS[0]},MIG-8f,GPU-9a/1/0"}, [*UUIDS[::-1], "MIG-8f", "GPU-9a/1/0"]),
        ({"CUDA_VISIBLE_DEVICES": "1,7"}, [UUIDS[1], "7"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
    ],
)
def test_of_several_gpus_each_keeps_its_name_when_another_is_lost(
    environ: dict[str, str], names: list[str], tmp_path: Path
) -> None:
    assert visible_gpus(environ, driver(tmp_path, UUIDS)) == names


def test_gpus_without_an_identifier_so_far_are_named_by_number(tmp_path: Path) -> None:
    unknown = "GPU-????????-????-????-????-????????????"
    assert visible_gpus({}, driver(tmp_path, [unknown, UUIDS[1]])) == ["0", UUIDS[1]]


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
