"""What a viewer sees: promises about the face, measured on finished MP4s by a model that knows nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from configs.grid import QUANTUM_FRAMES
from models.api import SAMPLE_RATE, Span
from models.landmarks import face_landmarks, lip_gap, lip_width
from models.landmarks.measure import yaw_degrees
from models.media.paste import i420_to_bgr
from models.templates.builtin import BUILTIN, ensure_builtin
from models.templates.make import prepare_source
from models.templates.store import open_template
from models.templates.work import Source, Workplace
from tests.support.doubles import quiet
from tests.support.face import (
    NEAR_REST,
    SPOKEN,
    VOWELS,
    Face,
    Film,
    Speech,
    Studio,
    changes,
    closures,
    correlations,
    falls_ms,
    psnr,
    studio_of,
    vowel_frames,
)
from tests.support.pictures import WEIGHTS, astronaut_file

IDLE = 2
"""Quanta of idle video before and after the speech."""
VOICES = ("en", "zh", "hibari")
STEP = 0.15


@dataclass(frozen=True)
class Take:
    """A film and the face in it."""

    film: Film
    face: Face
    rest: float
    """Gap up to which the lips count as resting, pixels."""


@pytest.fixture(scope="module")
def studio(state_dir: Path) -> Iterator[Studio]:
    made = ensure_builtin(str(state_dir), "default", quiet, threading.Event())
    studio = studio_of(str(made.path), made.hash)
    yield studio
    studio.close()


def shoot(studio: Studio, speech: Speech) -> Take:
    film = studio.film(speech, idle=IDLE)
    face = studio.measure_film(film)
    still = slice(0, QUANTUM_FRAMES)
    rest = float(np.median(face.gap[still]) + NEAR_REST * np.median(face.width[still]))
    return Take(film, face, rest)


@pytest.fixture(scope="module")
def takes(studio: Studio) -> dict[str, Take]:
    return {language: shoot(studio, studio.say(SPOKEN[language], language)) for language in VOICES}


@pytest.fixture(scope="module")
def unheard_language(studio: Studio) -> Take:
    """Speech without phonemes, as ``process_segment`` brings it."""
    speech = studio.say(
        "Hello, my name is Bob. Please help me make a map of the park. The moon is far above.", "en"
    )
    return shoot(studio, Speech(speech.pcm, []))


@pytest.mark.parametrize("language", VOICES)
def test_vowels_open_the_mouth_in_their_order(takes: dict[str, Take], language: str) -> None:
    film, face = takes[language].film, takes[language].face
    gap = {v: face.gap[vowel_frames(film, sounds)].mean() for v, sounds in VOWELS[language].items()}
    gap["mbp"] = closures(film, face).mean()
    least = STEP * gap["a"]
    for wider, closer in (("a", "e"), ("e", "i"), ("e", "u"), ("i", "mbp"), ("u", "mbp")):
        assert gap[wider] - gap[closer] >= least, (wider, closer, gap)


@pytest.mark.parametrize("language", VOICES)
def test_i_is_wider_than_u(takes: dict[str, Take], language: str) -> None:
    film, face = takes[language].film, takes[language].face
    width = {v: face.width[vowel_frames(film, VOWELS[language][v])].mean() for v in "iu"}
    assert width["i"] >= 1.15 * width["u"], width


@pytest.mark.parametrize("language", VOICES)
def test_the_lips_meet_on_m_b_and_p(takes: dict[str, Take], language: str) -> None:
    take = takes[language]
    smallest = closures(take.film, take.face)
    assert len(smallest) >= 15
    assert (smallest <= take.rest).mean() >= 0.9, smallest


@pytest.mark.parametrize("language", VOICES)
def test_the_lips_rest_within_120_ms_of_silence(takes: dict[str, Take], language: str) -> None:
    take = takes[language]
    falls = falls_ms(take.film, take.face, take.rest)
    assert len(falls) >= 4
    assert max(falls) <= 120, falls


@pytest.mark.parametrize("language", VOICES)
def test_the_mouth_follows_loudness_without_delay(takes: dict[str, Take], language: str) -> None:
    by_lag = correlations(takes[language].film, takes[language].face)
    assert by_lag[0] >= 0.5, by_lag
    assert max(by_lag, key=lambda lag: by_lag[lag]) in (-1, 0, 1), by_lag


def test_a_language_without_phonemes_moves_the_lips_too(unheard_language: Take) -> None:
    by_lag = correlations(unheard_language.film, unheard_language.face)
    assert by_lag[0] >= 0.5, by_lag
    assert max(by_lag, key=lambda lag: by_lag[lag]) in (-1, 0, 1), by_lag
    assert max(falls_ms(unheard_language.film, unheard_language.face, unheard_language.rest)) <= 120


@pytest.mark.parametrize("name", list(BUILTIN))
def test_the_landmark_model_finds_the_face_of_a_built_in_template(state_dir: Path, name: str) -> None:
    made = ensure_builtin(str(state_dir), name, quiet, threading.Event())
    template = open_template(str(made.path), made.hash)
    for pose in range(0, template.frames, 31):
        (face,) = face_landmarks(i420_to_bgr(template.i420[pose]), WEIGHTS)
        assert face.presence > 0.9
        assert abs(yaw_degrees(face.points)) < 10
        assert lip_gap(face.points) < 0.08 * lip_width(face.points), "lips meet at rest"
        x0, y0, x1, y1 = template.boxes[pose]
        mouth, chin = face.points[[61, 291], :2], face.points[152, :2]
        assert ((mouth > (x0, y0)) & (mouth < (x1, y1))).all()
        assert chin[1] < y1


# --- joints -----------------------------------------------------------------------------------------------


def test_the_same_speech_is_the_same_film(studio: Studio) -> None:
    speech = studio.say("Hello, I am Bob.", "en")
    assert studio.film(speech).mp4 == studio.film(speech).mp4


@pytest.mark.parametrize("language", VOICES)
def test_quality_does_not_step_where_segments_meet(takes: dict[str, Take], language: str) -> None:
    film = takes[language].film
    found = psnr(film)
    assert found.min() > 40
    joints = np.asarray(film.joints)
    steps = np.abs(found[joints] - found[joints - 1])
    assert steps.max() <= 1.0, steps


def test_a_key_frame_does_not_show(takes: dict[str, Take]) -> None:
    """What the encoder adds to the change of the picture where it begins anew: well below one level."""
    film = takes["en"].film
    joints = np.asarray(film.joints) - 1
    added = changes(film.luma) - changes(film.source_luma)
    assert added[joints].mean() <= 0.7, added[joints]


@pytest.mark.parametrize("language", VOICES)
def test_the_mouth_does_not_jump_where_segments_meet(
    studio: Studio, takes: dict[str, Take], language: str
) -> None:
    """At every joint against the same moment of the same speech in one piece."""
    film = takes[language].film
    whole, _ = studio.perform(film.speech, film.frame0 + film.first, whole=True)
    inside, cut = changes(whole), changes([crop for crop in film.crops if crop is not None])
    joints = np.asarray([j - film.first - 1 for j in film.joints if 0 < j - film.first < film.spoken])
    assert (cut[joints] <= 1.1 * inside[joints]).all(), cut[joints] / inside[joints]


# --- the box ----------------------------------------------------------------------------------------------


def test_outside_the_box_the_template_is_untouched(studio: Studio, takes: dict[str, Take]) -> None:
    film, template = takes["en"].film, studio.template
    height = template.height
    for k, source in enumerate(film.sources):
        pose = (film.frame0 + k) % template.frames
        x0, y0, x1, y1 = (int(v) for v in template.boxes[pose])
        changed = source != template.i420[pose]
        rows, columns = np.nonzero(changed[:height])
        assert not len(rows) or (y0 <= rows.min() <= rows.max() < y1 and x0 <= columns.min() <= columns.max() < x1)
        for plane in changed[height:].reshape(2, height // 2, template.width // 2):
            rows, columns = np.nonzero(plane)
            inside = slice(y0 // 2, y1 // 2), slice(x0 // 2, x1 // 2)
            assert plane[inside].sum() == len(rows)


def test_the_boxs_border_cannot_be_seen(studio: Studio, takes: dict[str, Take]) -> None:
    """Along every line of the feathered band, the change across it is that of the template."""
    assert border_ratios(studio, takes["en"].film).max() <= 1.2


def border_ratios(studio: Studio, film: Film) -> np.ndarray:
    """Gradient of the film across lines near the box's sides, over the template's own: ``[24]``."""
    template = studio.template
    own, shown = np.zeros(24), np.zeros(24)
    for k, luma in enumerate(film.source_luma):
        pose = (film.frame0 + k) % template.frames
        own += _across(template.i420[pose, : template.height], template.boxes[pose])
        shown += _across(luma, template.boxes[pose])
    return shown / own


def _across(luma: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Mean gradient across lines parallel to the box's sides, from 4 pixels outside to 19 inside: ``[24]``."""
    x0, y0, x1, y1 = (int(v) for v in box)
    picture = luma.astype(np.int16)
    found = []
    for d in range(-4, 20):
        rows = [
            np.abs(picture[y, x0:x1] - picture[y - 1, x0:x1]).mean() for y in (y0 + d, min(y1 - d, len(luma) - 1))
        ]
        columns = [np.abs(picture[y0:y1, x] - picture[y0:y1, x - 1]).mean() for x in (x0 + d, x1 - d)]
        found.append(np.mean(rows + columns))
    return np.asarray(found)


@pytest.mark.parametrize("language", VOICES)
def test_speech_enters_and_leaves_idle_without_a_jump(
    studio: Studio, takes: dict[str, Take], language: str
) -> None:
    assert_no_jump(studio, takes[language].film)


def assert_no_jump(studio: Studio, film: Film) -> None:
    """Around the first and the last frame of the speech; at its end, where the mouth rests, below the eyes too."""
    template = studio.template
    x0, y0, x1, y1 = (int(v) for v in template.boxes[0])
    into, out = film.first - 1, film.first + film.spoken - 1
    face = np.s_[:, (y0 + y1) // 2 : y1, x0:x1]
    for part, ends in ((np.s_[:, :, :], (into, out)), (face, (out,))):
        own = changes(template.i420[:, : template.height][part]).max()
        moved = changes(film.source_luma[part])
        for end in ends:
            assert moved[end - 1 : end + 2].max() <= 1.5 * own


# --- a photo ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A smiling face of 92 pixels."""
    place = Workplace(str(tmp_path_factory.mktemp("photo")), WEIGHTS)
    made = prepare_source(Source("photo", data=astronaut_file()), place, quiet, threading.Event())
    studio = studio_of(str(made.path), made.hash)
    yield studio
    studio.close()


def test_a_photo_speaks(photo: Studio) -> None:
    take = shoot(photo, photo.say("Hello, my name is Bob. Please help me make a map of the park.", "en"))
    film, by_lag = take.film, correlations(take.film, take.face)
    assert by_lag[0] >= 0.5, by_lag
    assert (closures(film, take.face) <= take.rest).mean() >= 0.9
    assert max(falls_ms(film, take.face, take.rest)) <= 120
    assert border_ratios(photo, film).max() <= 1.2
    assert_no_jump(photo, film)
    found, joints = psnr(film), np.asarray(film.joints)
    assert np.abs(found[joints] - found[joints - 1]).max() <= 1.0


HELD = [Span("A:", 0, 2_000_000)]


@pytest.mark.parametrize("phonemes", [HELD, []], ids=["phonemes", "audio"])
@pytest.mark.parametrize("who", ["studio", "photo"])
def test_a_held_sound_holds_the_mouth_and_the_chin_still(
    request: pytest.FixtureRequest, who: str, phonemes: list[Span]
) -> None:
    """Nothing trembles or swims: below the eyes the picture changes as the template's own does."""
    studio: Studio = request.getfixturevalue(who)
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 14))
    crops, _ = studio.perform(Speech((voice * 5000).astype(np.int16), phonemes), 0)
    template, middle = studio.template, range(15, 40)
    x0, y0, x1, y1 = (int(v) for v in template.boxes[0])
    face = np.s_[(y0 + y1) // 2 : y1, x0:x1]
    shown = [studio.source(k, crops[k])[: template.height][face] for k in middle]
    own = [template.i420[k % template.frames, : template.height][face] for k in middle]
    assert np.abs(shown[0].astype(np.int16) - own[0]).max() > 60, "the mouth is open"
    extra = changes(shown) - changes(own)
    assert extra.mean() <= 0.1
    assert extra.max() <= 0.3


@pytest.mark.parametrize("language", VOICES)
def test_a_photos_vowels_can_be_told_apart(photo: Studio, language: str) -> None:
    """Their order only: at this size the landmark model is a pixel off."""
    take = shoot(photo, photo.say(SPOKEN[language], language))
    frames = {v: vowel_frames(take.film, sounds) for v, sounds in VOWELS[language].items()}
    gap = {v: take.face.gap[at].mean() for v, at in frames.items()}
    width = {v: take.face.width[at].mean() for v, at in frames.items()}
    assert gap["a"] > gap["e"] > max(gap["i"], gap["u"]), gap
    assert min(gap["i"], gap["u"]) > closures(take.film, take.face).mean(), gap
    assert width["i"] >= 1.15 * width["u"], width
