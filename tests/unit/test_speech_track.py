"""A turn's audio: windows, words, what was heard."""

import array
import itertools

from broker.ipc.messages import Word
from broker.media.speech_track import SpeechTrack, faded, to_samples, to_us
from broker.sessions.reply import heard_text, join_sentences
from broker.sessions.spoken_text import Sentence
from configs.grid import QUANTUM_SAMPLES, SAMPLE_BYTES


def pcm(values: range) -> bytes:
    return array.array("h", values).tobytes()


def test_windows_are_zero_outside_what_is_known_and_survive_trimming() -> None:
    track = SpeechTrack()
    track.append(pcm(range(1, 101)))
    assert array.array("h", track.window(-2, 3)).tolist() == [0, 0, 1, 2, 3]
    assert array.array("h", track.window(98, 103)).tolist() == [99, 100, 0, 0, 0]
    assert track.window(200, 203) == bytes(6)
    assert track.window(-5, -2) == bytes(6)
    track.trim(50)
    assert array.array("h", track.window(50, 53)).tolist() == [51, 52, 53]
    track.append(pcm(range(101, 111)))
    assert track.end == 110
    assert array.array("h", track.window(99, 102)).tolist() == [100, 101, 102]


def test_a_window_over_many_pieces_is_the_same_before_and_after_trimming() -> None:
    track = SpeechTrack()
    for first in range(0, 1000, 7):
        track.append(pcm(range(first, first + 7)))
    before = {(a, b): track.window(a, b) for a, b in [(500, 501), (500, 990), (998, 1005), (504, 511)]}
    assert array.array("h", before[500, 990]).tolist() == list(range(500, 990))
    track.trim(500)
    assert {key: track.window(*key) for key in before} == before
    track.trim(track.end)
    assert track.window(track.end - 3, track.end + 3) == bytes(12)


def test_the_loudest_sample_before_a_place_is_the_same_whenever_and_however_the_audio_came() -> None:
    quiet, loud = pcm(range(-100, 100)) * 1000, pcm(range(-20_000, -19_000)) * 10
    whole = quiet + loud + quiet
    places = [quantum * QUANTUM_SAMPLES for quantum in range(len(whole) // SAMPLE_BYTES // QUANTUM_SAMPLES + 1)]
    found = []
    for size in (len(whole), 9_998, 30_720 * 3):
        track = SpeechTrack()
        early: dict[int, float] = {}
        for at in range(0, len(whole), size):
            track.append(whole[at : at + size])
            known = [place for place in places if place <= track.end]
            early.setdefault(known[-1], track.peak_before(known[-1]))
        track.trim(places[5] + 7)
        late = {place: track.peak_before(place) for place in places[5:]}
        assert {place: peak for place, peak in early.items() if place in late}.items() <= late.items()
        found.append(late)
    assert found[0] == found[1] == found[2]
    assert found[0][places[5]] == 100 / 32768
    assert found[0][places[-1]] == 20_000 / 32768


def test_microseconds_and_samples_are_inverse() -> None:
    for samples in [*range(2000), 15_360, 48_000 * 3600 + 7]:
        assert to_samples(to_us(samples)) == samples


def test_spans_are_those_that_overlap() -> None:
    track = SpeechTrack()
    track.annotate(1_000, [Word("a", 0, 10), Word("b", 10, 20)], [Word("x", 0, 5)])
    words, phonemes = track.spans(1_005, 1_011)
    assert [w.text for w in words] == ["a", "b"]
    assert phonemes == []
    assert track.spans(1_020, 2_000)[0] == []


def test_a_cut_fades_the_last_ten_milliseconds() -> None:
    out = array.array("h", faded(array.array("h", [1000] * 960).tobytes()))
    assert out[:480].tolist() == [1000] * 480
    assert out[-1] == 0
    assert all(a >= b for a, b in itertools.pairwise(out[479:]))


def test_history_keeps_the_words_whose_audio_ends_by_the_cut() -> None:
    sentences = [
        Sentence(0, "Good morning, Ann.", start=0, length=48_000, done=True),
        Sentence(1, "How are you?", start=48_000, length=48_000, done=True),
    ]
    words = [
        ("Good", 0, 300_000),
        ("morning", 300_000, 600_000),
        ("Ann", 600_000, 900_000),
        ("How", 1_000_000, 1_300_000),
        ("are", 1_300_000, 1_600_000),
        ("you", 1_600_000, 1_900_000),
    ]
    assert heard_text(sentences, words, 0) == ""
    assert heard_text(sentences, words, 640_000) == "Good morning"
    assert heard_text(sentences, words, 1_280_000) == "Good morning, Ann."
    assert heard_text(sentences, words, 1_600_000) == "Good morning, Ann. How are"
    assert heard_text(sentences, words, 9_000_000) == "Good morning, Ann. How are you?"


def test_chinese_sentences_join_without_spaces() -> None:
    assert join_sentences(["你好。", "我是穆斯。"]) == "你好。我是穆斯。"
    assert join_sentences(["Hi.", "There."]) == "Hi. There."
