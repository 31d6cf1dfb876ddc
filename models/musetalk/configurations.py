"""Whether a network's configuration file is MuseTalk's: every key that can change a pixel.

Widths may be smaller than the published ones (tests and benchmarks use such networks); all else must be as it was
trained, for a wrong value loads without a complaint and shows in the picture alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from models.musetalk.constants import UNET_CONFIG, VAE_CONFIG, WHISPER_CONFIG

_WIDTHS = ("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels")
_MOST_LAYERS = 2
_WITHOUT_EFFECT = {"sample_size", "force_upcast", "dropout"}
"""Of diffusers' parameters those that no pixel depends on here."""
OPENAI = {
    "n_audio_state": "d_model", "n_audio_layer": "encoder_layers", "n_audio_head": "encoder_attention_heads",
    "n_mels": "num_mel_bins", "n_audio_ctx": "max_source_positions",
}  # fmt: skip
"""The ``dims`` of an OpenAI checkpoint, and their names at Hugging Face."""
_MOST_FFN = 4 * int(WHISPER_CONFIG["d_model"])
_WHISPER_FIXED: dict[str, Any] = {"activation_function": "gelu", "scale_embedding": False}


def problems(kind: str, config: Any) -> list[str]:
    """What is not as MuseTalk has it, one phrase each; empty when all is.

    Args:
        kind: of the component, see ``layout``.
        config: the parsed file, whatever it holds.
    """
    if not isinstance(config, Mapping):
        return [f"it holds a {type(config).__name__}, not keys and values"]
    if kind == "whisper":
        return _whisper(config)
    published: dict[str, Mapping[str, Any]] = {"unet": UNET_CONFIG, "vae": VAE_CONFIG, "taesd": {}}
    return _diffusers(kind, config, published[kind]) if kind in published else []


def _diffusers(kind: str, config: Mapping[str, Any], published: Mapping[str, Any]) -> list[str]:
    defaults = _defaults(kind)
    wanted = {**defaults, **published}
    found = {**defaults, **{key: value for key, value in config.items() if key in defaults}}
    widths = [key for key in _WIDTHS if key in wanted]
    wrong = [phrase for key in widths if (phrase := _width(key, found[key], wanted[key]))]
    if not wrong and "norm_num_groups" in wanted:
        # Below 32 channels a norm of 32 groups cannot be.
        wanted["norm_num_groups"] = min(wanted["norm_num_groups"], *found["block_out_channels"])
    layers: Any = found.get("layers_per_block")
    if "layers_per_block" in published and not (_whole(layers) and 1 <= layers <= _MOST_LAYERS):
        wrong.append(f"layers_per_block is {layers!r}, not {wanted['layers_per_block']}")
    free = {*widths, "layers_per_block", *_WITHOUT_EFFECT}
    wrong += [
        f"{key} is {found[key]!r}, not {value!r}"
        for key, value in wanted.items()
        if key not in free and not _same(found[key], value)
    ]
    return wrong


def _defaults(kind: str) -> dict[str, Any]:
    """Every parameter of diffusers' class and its default."""
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

    made = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "taesd": AutoencoderTiny}[kind]
    parameters = list(inspect.signature(made.__init__).parameters.values())[1:]
    return {one.name: one.default for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD}


def _width(key: str, found: Any, most: Any) -> str:
    fits = (
        isinstance(found, list | tuple)
        and len(found) == len(most)
        and all(_whole(value) and 1 <= value <= limit for value, limit in zip(found, most, strict=True))
    )
    return "" if fits else f"{key} is {found!r}, not {list(most)!r}"


def _whisper(config: Mapping[str, Any]) -> list[str]:
    if "n_audio_state" in config:
        config = {ours: config.get(theirs) for theirs, ours in OPENAI.items()}
    found = {**WHISPER_CONFIG, **_WHISPER_FIXED, **config}
    wanted = {**WHISPER_CONFIG, **_WHISPER_FIXED}
    width = found["encoder_ffn_dim"]
    wrong = [] if _whole(width) and 1 <= width <= _MOST_FFN else [f"encoder_ffn_dim is {width!r}, not {_MOST_FFN}"]
    return wrong + [
        f"{key} is {found[key]!r}, not {value!r}"
        for key, value in wanted.items()
        if key != "encoder_ffn_dim" and not _same(found[key], value)
    ]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _same(found: Any, wanted: Any) -> bool:
    """Equal as JSON sees it: lists are tuples, 1 is 1.0, but true is no number."""
    if isinstance(found, list | tuple) and isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)
