from __future__ import annotations

import hashlib
import json
import resource
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.api import EngineError
from models.musetalk import configurations, constants, keys
from models.musetalk.layout import BY_NAME, COMPONENTS, belongs_to, is_published
from models.musetalk.manifest import converted_path, source_digest
from models.musetalk.weights import (
    convert,
    load_converted,
    read_config,
    read_official,
    store,
    verify,
)
from tests.engines.musetalk import checkpoints as made

Copy = Callable[..., Path]


@pytest.fixture
def copy_of(official: Path, tmp_path: Path) -> Copy:
    """These components of the official layout, to be changed: what is looked at takes its time."""

    def made_for(*names: str) -> Path:
        for name in names:
            folder = Path(BY_NAME[name].files[0]).parts[0]
            shutil.copytree(official / folder, tmp_path / "weights" / folder)
        return tmp_path / "weights"

    return made_for


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


def test_official_files_convert_once_and_load_as_they_were(copy_of: Copy) -> None:
    copy = copy_of("unet-v15", "unet-v10", "vae", "whisper")
    assert convert(copy) == ["unet-v15", "unet-v10", "vae", "whisper"]
    assert convert(copy) == []
    assert convert(copy, force=True)[0] == "unet-v15"
    for name, seed in (("unet-v15", 15), ("unet-v10", 10)):
        config, state = load_converted(copy, name)
        assert config["block_out_channels"] == [32, 32, 64, 64]
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
def test_the_vae_is_understood_in_every_spelling(copy_of: Copy, spelling: str) -> None:
    copy = copy_of("vae")
    state = made.tiny("vae", 1).state_dict()
    stored = state if spelling == "new" else made.old_vae_names(state, four_dimensional=spelling == "old 4-D")
    torch.save(stored, copy / "sd-vae" / "diffusion_pytorch_model.bin")
    (copy / "sd-vae").rename(copy / "sd-vae-ft-mse")
    _, found = read_official(BY_NAME["vae"], copy)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_whisper_is_understood_under_both_names(copy_of: Copy) -> None:
    copy = copy_of("whisper")
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


def test_a_pointer_a_stump_a_web_page_and_a_text_are_named(copy_of: Copy) -> None:
    copy = copy_of("unet-v15")
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


def test_missing_extra_and_misshapen_tensors_are_named(copy_of: Copy) -> None:
    copy = copy_of("unet-v15")
    unet = copy / "musetalkV15" / "unet.pth"
    state = made.tiny("unet", 15).state_dict()
    torch.save({k: v for k, v in state.items() if k != "conv_in.bias"}, unet)
    assert "1 tensors are missing: conv_in.bias" in problem(copy, "unet-v15")
    torch.save(state | {"stray": torch.ones(2)}, unet)
    assert "1 tensors do not belong there: stray" in problem(copy, "unet-v15")
    torch.save(state | {"conv_in.weight": torch.ones(32, 4, 3, 3)}, unet)
    assert "conv_in.weight is [32, 4, 3, 3], not [32, 8, 3, 3]" in problem(copy, "unet-v15")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("musetalkV15/musetalk.json", {"in_channels": 32, "out_channels": 16}, "in_channels is 32, not 8; out_"),
        ("musetalkV15/musetalk.json", {"norm_eps": 1e-6}, "norm_eps is 1e-06, not 1e-05"),
        ("musetalkV15/musetalk.json", {"attention_head_dim": 4}, "attention_head_dim is 4, not 8"),
        ("musetalkV15/musetalk.json", {"center_input_sample": True}, "center_input_sample is True, not False"),
        ("musetalkV15/musetalk.json", {"act_fn": "gelu"}, "act_fn is 'gelu', not 'silu'"),
        ("musetalkV15/musetalk.json", {"flip_sin_to_cos": False}, "flip_sin_to_cos is False, not True"),
        ("musetalkV15/musetalk.json", {"freq_shift": 1}, "freq_shift is 1, not 0"),
        ("musetalkV15/musetalk.json", {"norm_num_groups": 16}, "norm_num_groups is 16, not 32"),
        ("musetalkV15/musetalk.json", {"mid_block_scale_factor": 2}, "mid_block_scale_factor is 2, not 1"),
        ("musetalkV15/musetalk.json", {"resnet_out_scale_factor": 2.0}, "resnet_out_scale_factor is 2.0, not 1.0"),
        ("musetalkV15/musetalk.json", {"upcast_attention": 1}, "upcast_attention is 1, not False"),
        ("musetalkV15/musetalk.json", {"layers_per_block": 10**9}, "layers_per_block is 1000000000, not 2"),
        ("musetalkV15/musetalk.json", {"block_out_channels": [10**9] * 4}, "block_out_channels is [1000000000,"),
        ("musetalkV15/musetalk.json", {"block_out_channels": "wide"}, "block_out_channels is 'wide'"),
        ("musetalkV15/musetalk.json", {"down_block_types": ["Nonsense"] * 4}, "down_block_types is ['Nonsense'"),
        ("musetalkV15/musetalk.json", {"up_block_types": 3}, "up_block_types is 3"),
        ("sd-vae/config.json", {"latent_channels": 16}, "latent_channels is 16, not 4"),
        ("sd-vae/config.json", {"scaling_factor": 0.13025}, "scaling_factor is 0.13025, not 0.18215"),
        ("sd-vae/config.json", {"act_fn": "relu"}, "act_fn is 'relu', not 'silu'"),
        ("whisper/config.json", {"encoder_attention_heads": 8}, "encoder_attention_heads is 8, not 6"),
        ("whisper/config.json", {"activation_function": "relu"}, "activation_function is 'relu', not 'gelu'"),
        ("whisper/config.json", {"encoder_layers": "four"}, "encoder_layers is 'four', not 4"),
    ],
)
def test_a_configuration_that_would_change_a_pixel_is_refused(
    official: Path, tmp_path: Path, file: str, change: dict[str, object], said: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(json.dumps(json.loads((official / file).read_text()) | change))
    name = next(c.name for c in COMPONENTS if file in c.configs)
    with pytest.raises(EngineError) as caught:
        read_config(BY_NAME[name], tmp_path)
    assert said in caught.value.message
    assert ("musetalk.json of the official layout" in caught.value.hint) is (name == "unet-v15")


@pytest.mark.parametrize("text", ["[]", "[1, 2]", "null", '"a"', "7", "{", "", "[" * 100_000, "\xff\xfe"])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    for name in ("unet-v15", "vae", "whisper"):
        file = tmp_path / BY_NAME[name].configs[0]
        file.parent.mkdir()
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(EngineError, match=r"cannot be read|not keys and values"):
            read_config(BY_NAME[name], tmp_path)


def test_what_changes_no_pixel_may_stand_in_a_configuration(copy_of: Copy) -> None:
    copy = copy_of("unet-v15")
    path = copy / "musetalkV15" / "musetalk.json"
    harmless = {"sample_size": 32, "dropout": 0.1, "_name_or_path": "x", "made_up": 3, "norm_eps": 0.00001}
    path.write_text(json.dumps(json.loads(path.read_text()) | harmless))
    assert read_official(BY_NAME["unet-v15"], copy)
    path.unlink()
    assert "is missing" in problem(copy, "unet-v15")


def test_a_configuration_that_was_repaired_is_converted_again(copy_of: Copy) -> None:
    copy = copy_of("vae", "whisper")
    path = copy / "sd-vae" / "config.json"
    right = json.loads(path.read_text())
    convert(copy)
    path.write_text(json.dumps(right | {"act_fn": "relu"}))
    with pytest.raises(EngineError, match="act_fn is 'relu'"):
        convert(copy)
    path.write_text(json.dumps(right | {"sample_size": 512}))
    report = next(r for r in verify(copy) if r.name == "vae")
    assert (report.status, report.converted) == ("ok", False)
    assert "of another file or configuration" in report.notes[-1]
    assert convert(copy) == ["vae"]
    assert load_converted(copy, "vae")[0]["sample_size"] == 512


def test_what_was_converted_is_checked_against_its_configuration(copy_of: Copy) -> None:
    copy = copy_of("vae", "whisper")
    convert(copy)
    manifest = copy / "converted" / "manifest.json"
    held = json.loads(manifest.read_text())
    held["components"]["vae"]["config"]["act_fn"] = "relu"
    manifest.write_text(json.dumps(held))
    with pytest.raises(EngineError, match="act_fn is 'relu'"):
        load_converted(copy, "vae")
    assert "act_fn is 'relu'" in problem(copy, "vae")
    assert convert(copy) == ["vae"]
    assert load_converted(copy, "vae")


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"v": 1}', '{"v": 1, "components": []}', '{"v": 1, "components": {"vae": {}}}',
     '{"v": 1, "components": {"vae": {"sha256": "ab", "source": "x", "source_sha256": 3}}}', "{"],
)  # fmt: skip
def test_a_manifest_that_lacks_something_is_named(tmp_path: Path, text: str) -> None:
    manifest = tmp_path / "converted" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text(text)
    actions: list[Callable[[Path], object]] = [
        verify, convert, lambda root: load_converted(root, "vae"), lambda root: source_digest(root, "vae"),
    ]  # fmt: skip
    for action in actions:
        with pytest.raises(EngineError, match=r"is damaged|cannot be read") as caught:
            action(tmp_path)
        assert "delete it and run `musecast weights convert`" in caught.value.hint


def test_a_manifest_of_another_version_is_made_anew(copy_of: Copy) -> None:
    copy = copy_of("vae")
    manifest = copy / "converted" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text('{"v": 0, "anything": 1}')
    assert convert(copy) == ["vae"]
    assert load_converted(copy, "vae")


def test_tensors_of_another_kind_are_refused(copy_of: Copy) -> None:
    copy = copy_of("unet-v15")
    unet = copy / "musetalkV15" / "unet.pth"
    state = made.tiny("unet", 15).state_dict()
    shape = state["conv_in.bias"].shape
    for odd, said in (
        (torch.ones(shape, dtype=torch.int64), "int64"),
        (torch.ones(shape, dtype=torch.bool), "bool"),
        (torch.ones(shape, dtype=torch.complex64), "complex64"),
        (torch.ones(shape).to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (torch.ones(shape).to_sparse(), "sparse (sparse_coo)"),
        (torch.ones(shape, device="meta"), "without numbers (meta)"),
    ):
        torch.save(state | {"conv_in.bias": odd}, unet)
        with pytest.raises(EngineError, match=r"1 tensors do not hold plain floating-point") as caught:
            read_official(BY_NAME["unet-v15"], copy)
        assert f"conv_in.bias is {said}" in caught.value.message


def test_sparse_matrices_of_the_vae_are_refused_whatever_their_shape(copy_of: Copy) -> None:
    copy = copy_of("vae")
    state = made.old_vae_names(made.tiny("vae", 1).state_dict(), four_dimensional=True)
    key = next(key for key in state if key.endswith("query.weight"))
    torch.save(state | {key: state[key].to_sparse()}, copy / "sd-vae" / "diffusion_pytorch_model.bin")
    assert "another shape" in problem(copy, "vae")


def test_a_unet_in_the_place_of_the_other_version_is_refused(copy_of: Copy) -> None:
    copy = copy_of("unet-v15", "unet-v10")
    newer, older = copy / "musetalkV15" / "unet.pth", copy / "musetalk" / "pytorch_model.bin"
    shutil.copyfile(older, newer)
    for name in ("unet-v15", "unet-v10"):
        assert "are the same file, and one of them is in the wrong place" in problem(copy, name)
    with pytest.raises(EngineError, match="wrong place"):
        convert(copy)
    assert not converted_path(copy, "unet-v15").exists()


def test_the_published_files_are_known_and_belong_to_one_place() -> None:
    newer, older = BY_NAME["unet-v15"], BY_NAME["unet-v10"]
    (of_newer,), (of_older,) = newer.published, older.published
    assert belongs_to(newer, of_older.bytes, "0" * 64) is older
    assert belongs_to(older, of_newer.bytes, of_newer.sha256) is newer
    assert belongs_to(newer, *of_newer) is None
    assert belongs_to(older, of_older.bytes, "0" * 64) is None
    assert is_published(newer, *of_newer) is True
    assert is_published(newer, of_newer.bytes, "0" * 64) is False
    assert is_published(older, *of_older) is None
    assert all(one.sha256 == "" or len(one.sha256) == 64 for c in COMPONENTS for one in c.published)


def test_weights_of_ones_own_are_converted_and_said_to_be_such(copy_of: Copy) -> None:
    copy = copy_of("vae", "unet-v10")
    reports = {r.name: r for r in verify(copy)}
    assert reports["vae"].status == "ok"
    assert reports["vae"].published is False
    assert "not the file that its authors publish" in reports["vae"].notes[0]
    assert reports["unet-v10"].published is None
    assert reports["unet-v10"].notes == []


def test_broken_numbers_are_neither_verified_nor_converted(copy_of: Copy) -> None:
    copy = copy_of("unet-v15")
    state = made.tiny("unet", 15).state_dict()
    state["conv_in.bias"][0] = float("nan")
    torch.save(state, copy / "musetalkV15" / "unet.pth")
    assert "NaN or infinity, first conv_in" in problem(copy, "unet-v15")
    with pytest.raises(EngineError, match="NaN or infinity, first conv_in"):
        convert(copy)


def test_a_flipped_byte_inside_an_archive_is_found(copy_of: Copy) -> None:
    copy = copy_of("whisper")
    path = copy / "whisper" / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        record = next(one for one in archive.infolist() if one.filename.endswith("/data/5"))
    data = bytearray(path.read_bytes())
    data[record.header_offset + 30 + len(record.filename) + 64] ^= 0x10  # within the record's padding or numbers
    at = data.index(torch.load(path, weights_only=True)["model.encoder.conv2.bias"].numpy().tobytes())
    data[at + 8] ^= 0x10
    path.write_bytes(data)
    assert "is damaged: the checksum of pytorch_model/data/" in problem(copy, "whisper")
    with pytest.raises(EngineError, match="is damaged"):
        convert(copy)
    assert not converted_path(copy, "whisper").exists()


def test_a_damaged_safetensors_file_is_named(tmp_path: Path) -> None:
    made.write_json(tmp_path / "taesd" / "config.json", {}, "AutoencoderTiny")
    path = tmp_path / "taesd" / "diffusion_pytorch_model.safetensors"
    save_file({"a": torch.ones(8)}, path)
    whole = path.read_bytes()
    for damaged in (whole[:-5], whole.replace(b"F32", b"F99"), b"\x08" + bytes(7) + b"no json!"):
        path.write_bytes(damaged)
        with pytest.raises(EngineError, match="cannot be read"):
            read_official(BY_NAME["taesd"], tmp_path)


def test_a_disk_that_is_full_is_told_and_leaves_no_part(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(EngineError, match="cannot be written"):
            store(tmp_path, BY_NAME["taesd"], {}, {"a": torch.ones(1000)}, "x", "y")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_changed_converted_file_is_noticed(copy_of: Copy) -> None:
    copy = copy_of("vae")
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
        assert "weights convert" in caught.value.hint
    with pytest.raises(EngineError, match="not converted"):
        load_converted(copy, "dwpose")


@pytest.mark.slow
def test_preparation_networks_load_and_the_redundant_trunk_is_never_opened(
    preparing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("dwpose", "face-parse-bisent", "s3fd"):
        (tmp_path / folder).symlink_to(preparing / folder)
    monkeypatch.setattr(made, "Unimportable", None)
    names = {"dwpose", "face-parse", "s3fd"}
    assert set(convert(tmp_path)) == names
    for name in names:
        _, state = load_converted(tmp_path, name)
        module = keys.build(BY_NAME[name].kind, {})
        assert not module.load_state_dict(state, strict=False).unexpected_keys
    assert not any("resnet18" in file for c in COMPONENTS for file in c.files)


@pytest.mark.parametrize(
    ("kind", "head", "config", "digest"),
    [
        (
            "unet", {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0.dev0"},
            constants.UNET_CONFIG, "5b6923aee04d71692e0e9846c471e0a4ea07a4f686d39545e472bd4ba17e1b47",
        ),
        (
            "vae", {"_class_name": "AutoencoderKL", "_diffusers_version": "0.4.2"},
            constants.VAE_CONFIG, "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
        ),
    ],
)  # fmt: skip
def test_the_published_configurations_are_known_to_the_byte_and_accepted(
    kind: str, head: dict[str, str], config: dict[str, object], digest: str
) -> None:
    """``digest`` is the SHA-256 of the file as its authors publish it."""
    text = json.dumps(dict(sorted({**head, **config}.items())), indent=2) + "\n"
    assert hashlib.sha256(text.encode()).hexdigest() == digest
    assert configurations.problems(kind, json.loads(text)) == []
