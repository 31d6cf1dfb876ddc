"""One lip-sync process per GPU, each seeing its own."""

from pathlib import Path

from configs.schema import Config, Stage, Stages
from supervision.gpus import place_stages, visible_gpus
from supervision.specs import make_specs


def test_gpus_are_those_of_the_driver_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus({}, str(tmp_path)) == ["0", "1"]
    assert visible_gpus({}, str(tmp_path / "missing")) == []
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}, str(tmp_path)) == ["1"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-8f,GPU-9a"}, str(tmp_path)) == ["GPU-8f", "GPU-9a"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, str(tmp_path)) == []


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
