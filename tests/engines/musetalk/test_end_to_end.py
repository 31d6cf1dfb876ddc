"""E1: audio and prepared latents to faces, against the published recipe on oracles; joints; readiness."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.api import FUTURE_US, PAST_US, SAMPLE_RATE, SpeechWindow
from models.musetalk.constants import SCALING
from models.musetalk.engine import MuseTalkLipSync
from models.musetalk.keys import build
from models.musetalk.loading import load_module
from models.musetalk.prepared import load_prepared
from models.musetalk.stream import PEAK_TO_MEL, to_16k
from models.musetalk.weights import convert
from models.templates.store import Template
from tests.engines.musetalk import scene
from tests.engines.musetalk.checkpoints import TINY_WHISPER, randomise, write_json
from tests.engines.musetalk.test_audio import turn
from tests.support.doubles import quiet
from tests.support.speaking import window

FRAMES = 8
WHOLE_TURN = FRAMES * 40_000


@pytest.fixture(scope="module")
def template(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return scene.write(tmp_path_factory.mktemp("templates"), scene.config(small))


@torch.inference_mode()
def published(root: Path, pcm: np.ndarray, latents: torch.Tensor) -> tuple[np.ndarray, float]:
    """Faces u8 BGR of a whole clip as upstream makes them, and the largest log10 mel power."""
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(**TINY_WHISPER, decoder_layers=1, vocab_size=16, pad_token_id=0)
    whisper = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    whisper.load_state_dict(load_module(root, "whisper").state_dict())
    mel = transformers.WhisperFeatureExtractor()(
        to_16k(pcm), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    states = torch.stack(whisper(mel, output_hidden_states=True).hidden_states, dim=2)[0, : 2 * FRAMES]
    padded = torch.cat([torch.zeros(4, 5, 384), states, torch.zeros(12, 5, 384)])
    audio = torch.stack([padded[2 * f : 2 * f + 10].reshape(50, 384) for f in range(FRAMES)])
    angle = torch.arange(50)[:, None] * torch.exp(torch.arange(0, 384, 2) * (-math.log(10000.0) / 384))
    audio = audio + torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
    unet, vae = load_module(root, "unet-v15"), load_module(root, "vae")
    made = unet(latents, torch.zeros(1, dtype=torch.long), encoder_hidden_states=audio).sample
    pictures = (vae.decode(made / SCALING).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return (pictures * 255).round().astype(np.uint8)[..., ::-1], float(mel.max()) * 4 - 4


def one_quantum(template: Template, pcm: np.ndarray, peak: float) -> SpeechWindow:
    """A turn that is one quantum long."""
    at = PAST_US * SAMPLE_RATE // 1_000_000
    padded = np.zeros((PAST_US + WHOLE_TURN + FUTURE_US) * SAMPLE_RATE // 1_000_000, np.int16)
    padded[at : at + len(pcm)] = pcm
    return SpeechWindow(template, 0, FRAMES, 0, padded, [], [], peak, 0, WHOLE_TURN)


def test_e1_a_turn_is_what_the_published_recipe_makes_of_it(small: Path, template: Template) -> None:
    pcm = turn(WHOLE_TURN / 1_000_000)
    # At its ends a whole clip is reflected and cut off, a stream has silence around it.
    pcm[:900] = pcm[-900:] = 0
    prepared = load_prepared(template)
    wanted, top = published(small, pcm, torch.from_numpy(prepared.latents[:FRAMES].copy()))
    engine = MuseTalkLipSync(scene.config(small, encoder_steps=1500))
    engine.load(quiet)
    # The floor that a stream freezes is put where the whole clip has it.
    jobs = engine.plan(one_quantum(template, pcm, 10 ** ((top - PEAK_TO_MEL) / 2)))
    engine.render(jobs)
    engine.close()
    spoken = [k for k, job in enumerate(jobs) if job.data.faces]
    assert len(spoken) >= FRAMES - 1
    faces = np.stack([jobs[k].data.faces[0].crop for k in spoken])
    assert np.ptp(wanted.astype(int), axis=0).max() > 5  # the audio matters
    assert np.abs(faces.astype(int) - wanted[spoken]).max() <= 1


@torch.inference_mode()
def test_crops_change_no_more_at_a_joint_than_inside_a_segment(small: Path, template: Template) -> None:
    engine = MuseTalkLipSync(scene.config(small, encoder_steps=1500))
    engine.load(quiet)
    segments = 24
    pcm = turn((segments + 1) * 0.32)
    planned = [job for k in range(segments) for job in engine.plan(window(template, pcm, [], 8 * k, 8))]
    near = {k: job for k, job in enumerate(planned) if k % 8 in (0, 1, 6, 7)}  # a joint, and one pair on each side
    spoken = {k: job.data.faces[0] for k, job in near.items() if job.data.faces}
    still = next(iter(spoken.values())).latent
    for face in spoken.values():  # one pose for all, so that only the audio changes
        face.latent = still
    engine.render([*near.values()])
    engine.close()
    crops = {k: face.crop.astype(int) for k, face in spoken.items()}
    change = {k: float(np.abs(crops[k] - crops[k - 1]).mean()) for k in crops if k - 1 in crops}
    joints, inside = ([v for k, v in change.items() if (k % 8 == 0) is joint] for joint in (True, False))
    assert len(joints) > 15
    assert min(inside) > 0.1
    assert np.mean(joints) <= 1.1 * np.mean(inside)


def test_the_fast_tier_decodes_with_the_small_decoder(small: Path, template: Template, tmp_path: Path) -> None:
    root = Path(shutil.copytree(small, tmp_path / "weights"))
    config = {"decoder_block_out_channels": [8] * 4, "encoder_block_out_channels": [8] * 4}
    source = randomise(build("taesd", config), 9)
    write_json(root / "taesd" / "config.json", config, "AutoencoderTiny")
    save_file(source.state_dict(), root / "taesd" / "diffusion_pytorch_model.safetensors")
    assert convert(root) == ["taesd"]
    engine = MuseTalkLipSync(scene.config(root, tier="fast", max_batch=4))
    engine.load(quiet)
    assert engine._generator is not None
    seen: list[torch.Tensor] = []
    engine._generator._unet.register_forward_hook(lambda _, __, out: seen.append(out))
    jobs = engine.plan(window(template, turn(1.28), [], 8, 8))[:4]
    engine.render(jobs)
    engine.close()
    with torch.inference_mode():
        wanted = (source.decode(seen[-1]).sample / 2 + 0.5).clamp(0, 1)  # type: ignore[operator]
    faces = np.stack([job.data.faces[0].crop for job in jobs])
    found = torch.from_numpy(faces[..., ::-1].copy()).permute(0, 3, 1, 2)
    assert (found - wanted * 255).abs().max() <= 1
    assert wanted.std() > 0.01


def test_a_cpu_offers_every_batch_size_and_has_run_the_smallest(small: Path) -> None:
    """On a GPU each is recorded: see tests/gpu."""
    engine = MuseTalkLipSync(scene.config(small, max_batch=32))
    engine.load(quiet)
    assert engine._generator is not None
    assert list(engine.buckets) == [1, 2, 4, 8, 16, 32]
    assert sorted(engine._generator._ready) == [1, 2]
    engine.close()
