from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.api import EngineError
from models.musetalk import constants, keys
from models.musetalk.layout import BY_NAME, COMPONENTS
from models.musetalk.manifest import converted_path, source_digest
from models.musetalk.pickles import load_checkpoint, load_state
from models.musetalk.weights import (
    convert,
    load_converted,
    read_config,
    read_official,
    verify,
)
from tests.engines.musetalk import checkpoints as made


@pytest.fixture
def copy(official: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(official, tmp_path / "weights", ignore=shutil.ignore_patterns("converted")))


def problem(root: Path, name: str) -> str:
    report = next(r for r in verify(root) if r.name == name)
    assert report.status == "bad"
    return report.problems[0]


def test_every_tensor_of_the_published_networks_is_expected() -> None:
    counts = {
        "unet": (constants.UNET_CONFIG, 686, 849_947_844),
        "vae": (constants.VAE_CONFIG, 248, 83_653_863),
        "whisper": (constants.WHISPER_CONFIG, None, 8_208_384),
    }
    for kind, (config, tensors, parameters) in counts.items():
        shapes = keys.expected_shapes(kind, config)
        assert sum(int(np.prod(shape)) for shape in shapes.values()) == parameters, kind
        assert tensors is None or len(shapes) == tensors
    sizes = {"bisenet": 13_300_416, "s3fd": 22_459_110, "dwpose": 26_138_912 + 7_472_007}
    for kind, parameters in sizes.items():
        if kind == "dwpose":
            pytest.importorskip("mmcv")
        with torch.device("meta"):
            module = keys.build(kind, {})
        assert sum(p.numel() for p in module.parameters()) == parameters, kind


def test_official_files_convert_once_and_load_as_they_were(copy: Path) -> None:
    assert convert(copy) == ["unet-v15", "unet-v10", "vae", "whisper"]
    assert convert(copy) == []
    assert convert(copy, force=True)[0] == "unet-v15"
    for name, seed in (("unet-v15", 15), ("unet-v10", 10)):
        config, state = load_converted(copy, name)
        assert config["block_out_channels"] == [32, 64, 128, 128]
        original = made.tiny("unet", seed).state_dict()
        assert state.keys() == original.keys()
        assert all(torch.equal(state[key], original[key]) for key in state)
    assert len(source_digest(copy, "vae")) == 64
    shutil.rmtree(copy / "sd-vae")
    assert load_converted(copy, "vae")[1]
    report = {r.name: r for r in verify(copy)}
    assert report["vae"].status == "ok"
    assert report["vae"].converted
    assert report["s3fd"].status == "missing"


@pytest.mark.parametrize("spelling", ["new", "old", "old 4-D"])
def test_the_vae_is_understood_in_every_spelling(copy: Path, spelling: str) -> None:
    state = made.tiny("vae", 1).state_dict()
    stored = state if spelling == "new" else made.old_vae_names(state, four_dimensional=spelling == "old 4-D")
    torch.save(stored, copy / "sd-vae" / "diffusion_pytorch_model.bin")
    (copy / "sd-vae").rename(copy / "sd-vae-ft-mse")
    _, found = read_official(BY_NAME["vae"], copy)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_whisper_is_understood_under_both_names(copy: Path) -> None:
    state = made.tiny("whisper", 2).state_dict()
    _, hugging_face = read_official(BY_NAME["whisper"], copy)
    shutil.rmtree(copy / "whisper")
    (copy / "whisper").mkdir()
    dims = {"n_audio_state": 384, "n_audio_layer": 4, "n_audio_head": 6, "n_mels": 80, "n_audio_ctx": 1500}
    full = keys.build("whisper", dims)
    made.randomise(full, 2)
    torch.save(
        {"dims": dims, "model_state_dict": made.openai_names(full.state_dict())}, copy / "whisper" / "tiny.pt"
    )
    _, openai = read_official(BY_NAME["whisper"], copy)
    assert hugging_face.keys() == state.keys() == openai.keys()
    assert all(torch.equal(openai[key], value) for key, value in full.state_dict().items())


def test_a_pointer_a_stump_a_web_page_and_a_text_are_named(copy: Path) -> None:
    unet = copy / "musetalkV15" / "unet.pth"
    whole = unet.read_bytes()
    unet.write_bytes(whole[: len(whole) // 2])
    assert "is truncated" in problem(copy, "unet-v15")
    unet.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3400000000\n")
    assert "is a Git LFS pointer" in problem(copy, "unet-v15")
    assert "musecast weights pull" in problem(copy, "unet-v15")
    unet.write_text("<!DOCTYPE html><title>403</title>")
    assert "is a web page" in problem(copy, "unet-v15")
    unet.write_text("hello")
    assert "is not a PyTorch checkpoint" in problem(copy, "unet-v15")
    unet.write_bytes(b"")
    assert "is not a PyTorch checkpoint" in problem(copy, "unet-v15")
    with pytest.raises(EngineError, match="not a PyTorch"):
        convert(copy)


def test_missing_extra_and_misshapen_tensors_are_named(copy: Path) -> None:
    unet = copy / "musetalkV15" / "unet.pth"
    state = made.tiny("unet", 15).state_dict()
    torch.save({k: v for k, v in state.items() if k != "conv_in.bias"}, unet)
    assert "1 tensors are missing: conv_in.bias" in problem(copy, "unet-v15")
    torch.save(state | {"stray": torch.ones(2)}, unet)
    assert "1 tensors do not belong there: stray" in problem(copy, "unet-v15")
    torch.save(state | {"conv_in.weight": torch.ones(32, 4, 3, 3)}, unet)
    assert "conv_in.weight is [32, 4, 3, 3], not [32, 8, 3, 3]" in problem(copy, "unet-v15")


def test_a_foreign_unet_configuration_is_refused(copy: Path) -> None:
    path = copy / "musetalkV15" / "musetalk.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"in_channels": 32, "out_channels": 16}))
    text = problem(copy, "unet-v15")
    assert "in_channels is 32, not 8" in text
    assert "out_channels is 16, not 4" in text
    path.unlink()
    assert "is missing" in problem(copy, "unet-v15")


def test_broken_numbers_are_not_converted(copy: Path) -> None:
    state = made.tiny("unet", 15).state_dict()
    state["conv_in.bias"][0] = float("nan")
    torch.save(state, copy / "musetalkV15" / "unet.pth")
    with pytest.raises(EngineError, match="NaN or infinity, first conv_in"):
        convert(copy)


def test_a_changed_converted_file_is_noticed(copy: Path) -> None:
    convert(copy)
    path = converted_path(copy, "vae")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "differs from its manifest" in problem(copy, "vae")
    for damaged in (data, data[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(EngineError, match="differs from its manifest") as caught:
            load_converted(copy, "vae")
        assert "convert --force" in caught.value.hint
    with pytest.raises(EngineError, match="not converted"):
        load_converted(copy, "dwpose")


def test_a_strangers_classes_are_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hostile.pth"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3, dtype=torch.float16)}

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('code ran')",)

    torch.save({"state_dict": tensors, "message_hub": made.Unimportable(), "meta": Bomb()}, path)
    monkeypatch.setitem(sys.modules, "tests.engines.musetalk.checkpoints", None)
    loaded = load_checkpoint(path)
    assert type(loaded["message_hub"]).__name__ == "_Inert"
    state = load_state(path)
    assert all(torch.equal(state[key], value) for key, value in tensors.items())


@pytest.mark.slow
def test_preparation_networks_load_and_the_redundant_trunk_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mmcv")
    made.write_preparing(tmp_path)
    monkeypatch.setattr(made, "Unimportable", None)
    names = {"dwpose", "face-parse", "s3fd"}
    assert set(convert(tmp_path)) == names
    for name in names:
        _, state = load_converted(tmp_path, name)
        module = keys.build(BY_NAME[name].kind, {})
        assert not module.load_state_dict(state, strict=False).unexpected_keys
    assert not any("resnet18" in file for c in COMPONENTS for file in c.files)


def test_a_foreign_vae_configuration_is_refused_with_its_own_next_step(copy: Path) -> None:
    path = copy / "sd-vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"latent_channels": 16}))
    with pytest.raises(EngineError, match="latent_channels is 16, not 4") as caught:
        read_config(BY_NAME["vae"], copy)
    assert "musetalk.json" not in str(caught.value)
    assert "weights pull" in caught.value.hint
