"""Whether a microphone hears the avatar itself: its sound is compared with what was published. Pure.

What the microphone hears and what was published a while ago are compared as the power of 20 mel bands every 16 ms.
Their correlation over a few seconds tells whether there is an echo, and how late it is. The published sound, with
the gain that each band has had and a room's decay behind it, is then the loudest that an echo can be; what
is louder in several bands at once is somebody else. Nothing is subtracted from the audio: an echo canceller's
suppressor (WebRTC's AEC3 was measured) takes a person's voice along when both speak.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.grid import ASR_RATE as RATE
from configs.grid import SAMPLE_RATE
from models.api import Pcm
from models.media.resample import Resampler

HOP = 256
FRAME = 512
WINDOW = 512
"""Samples per decision; the voice detector's."""
BANDS = 20
LOWEST_HZ, HIGHEST_HZ = 150.0, 6500.0
LAGS = 96
"""Frames by which an echo can be late (1.5 s): buffering, acoustics and the way to us."""
TAIL = 26
"""Frames for which a room is heard on."""
DECAY_DB = 1.6
"""Per frame of them: a reverberation time of 0.6 s."""
SILENT_DB, FAINT_DB = 30.0, 35.0
"""Band powers of s16 audio: of no sound, and from which published sound can be heard anywhere."""
MEMORY = 1 - 1 / 90
"""Of the slow correlation, per frame in which both are heard;"""
SHORT = 1 - 1 / 16
"""of the quick one, which notices that the delay has jumped."""
PRESENT, ABSENT = 0.68, 0.56
"""Correlation from which there is an echo, and below which there is none any more;"""
EARLY = 0.06
"""more of it is needed after ``UNSURE`` frames, falling to nothing in twice as many more;"""
ELSEWHERE = 0.65
"""quick correlation from which there may be one at another lag."""
UNSURE, AGAIN = 40, 16
"""Frames with both to be heard before it is said that there is no echo, and before it is said how late one is."""
COMMON = 0.3
"""Part of what all bands have in common that is left out of it."""
PRIOR = BANDS * 20 * 9.0
"""Of both variances: a correlation of next to nothing is none."""
OVER_DB = 6.0
"""A band so much above the loudest echo is somebody else's."""
SOME = 3
"""Bands that are somebody else's, for a frame to be;"""
EVIDENCE, SPAN = 4, 12
"""frames out of the last that are somebody else's, for a person to speak;"""
HANG = 30
"""frames for which that holds on."""
PAST = 60
"""Frames from which the gains begin,"""
FIRST_DB = 3.0
"""with so much added, because what is seen in them is a mean;"""
RISE_DB, FALL_DB = 0.3, 0.05
"""then they follow what is loudest, in steps."""
HEARD_DB = 10.0
"""Above the noise, in several bands: something is heard."""
FLOOR_DB = 4.0
"""What is no louder than this above the noise is noise."""
SAME = 0.9
"""Quick correlation from which nobody else is heard, whatever the levels say, except that"""
MANY = 6
"""bands are somebody else's: where both begin at once, their beginnings alone are alike."""
FIRST = 100
"""Frames in which the best lag is the echo's; then, and where one was known before, it has to be so much"""
BETTER = 0.1
"""better."""
PATIENCE = 96
"""Windows that may wait (3 s) until it is known whether there is an echo, and for so many"""
AFTER = 24
"""frames more, so that nobody loses the beginning of what he said meanwhile."""
DEAF = 190
"""Frames of published sound of which nothing is heard (3 s, half of them beyond the latest echo): there is no echo
as long as that sound goes on;"""
CLICKS = 8
"""frames with a sound in the room that are no echo yet."""

PIECES = 64
"""Published pieces that are kept at most."""

Bands = NDArray[np.float64]


def _mel_bands() -> NDArray[np.float64]:
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    slopes = np.minimum((hertz - left) / (middle - left), (right - hertz) / (right - middle)).clip(0)
    return np.asarray(slopes / slopes.sum(axis=0))


_BANDS = _mel_bands()
_HANN = np.hanning(FRAME + 1)[:FRAME]


class Verdict(NamedTuple):
    """What is to be done with a window's voice."""

    own: bool
    """It is the avatar's."""
    doubt: bool
    """Or it may be somebody else's: what comes next will tell,"""
    reach: int
    """within so many windows."""


def _shape(swing: Bands) -> Bands:
    """A swing with less of what all bands have in common: two voices that begin at once are alike in that."""
    shape: Bands = swing - COMMON * swing.mean()
    return shape


class _Picture:
    """The band powers of one sound, in dB, and how far each is from its slow mean."""

    def __init__(self) -> None:
        self._last = np.zeros(FRAME - HOP)
        self._mean: Bands | None = None

    def frames(self, pcm: Pcm) -> Bands:
        """One row per ``HOP`` samples."""
        samples = np.concatenate([self._last, pcm])
        self._last = samples[len(samples) - (FRAME - HOP) :]
        cut = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * _HANN
        power = np.abs(np.fft.rfft(cut)) ** 2 @ _BANDS
        made: Bands = 10 * np.log10(power + 10 ** (SILENT_DB / 10))
        return made

    def swing(self, row: Bands) -> Bands:
        """How far a row is from the mean before it."""
        if self._mean is None:
            self._mean = row.copy()
        self._mean += 0.02 * (row - self._mean)
        return row - self._mean


class _Correlation:
    """Of the microphone with the published sound at each lag, over the last frames."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._both, self._far, self._near = np.zeros(LAGS), np.zeros(LAGS), 0.0

    def add(self, both: Bands, far: Bands, near: float) -> NDArray[np.float64]:
        """Take a frame's covariance and variances; returns the coefficient of each lag."""
        self._both = self._memory * self._both + both
        self._far = self._memory * self._far + far
        self._near = self._memory * self._near + near
        found: NDArray[np.float64] = self._both / np.sqrt(self._far * self._near + PRIOR)
        return found


class EchoGate:
    """One microphone's state."""

    def __init__(self) -> None:
        self._near, self._far = _Picture(), _Picture()
        self._published = np.full((PAST + LAGS + TAIL, BANDS), SILENT_DB)
        """Newest first,"""
        self._swings = np.zeros((LAGS, BANDS))
        """as these are."""
        self._heard: deque[Bands] = deque(maxlen=PAST)
        """Newest first."""
        self._slow, self._quick = _Correlation(MEMORY), _Correlation(SHORT)
        self._floor: Bands | None = None
        self._frames = 0
        self._gain: Bands | None = None
        """Of each band, dB; None until an echo has been heard."""
        self._lag = self._other = 0
        self._since = 0
        """Frames in which both were heard since the last silence."""
        self._lasted = 0
        """Frames of published sound since then."""
        self._unsure = False
        self._judged = 0
        """Frames since then."""
        self._deaf = False
        """Nothing was heard of it: headphones, most likely."""
        self._alike = 0.0
        self._elapsed = HANG
        self._foreign: deque[bool] = deque(maxlen=SPAN)
        self.present: bool | None = None
        """Whether there is an echo; None: not known yet."""
        self.echo = 0.0
        """How sure it is that there is an echo: a correlation."""

    @property
    def delay_ms(self) -> int:
        """How late the echo is, of the one that was heard last."""
        return self._lag * HOP * 1000 // RATE

    def window(self, heard: Pcm, published: Pcm) -> Verdict:
        """Whether a voice in this window can only be the avatar's.

        Args:
            heard: ``WINDOW`` samples, s16 16 kHz.
            published: what a viewer without any delay heard at that time.
        """
        own = doubt = False
        for near, far in zip(self._near.frames(heard), self._far.frames(published), strict=True):
            own = self._frame(near, far)
            doubt |= self._unsure or bool(self._foreign and self._foreign[-1])
        return Verdict(own, doubt, PATIENCE if self._unsure or self._judged < AFTER else SPAN // 2)

    def _frame(self, near: Bands, far: Bands) -> bool:
        self._published[1:], self._swings[1:] = self._published[:-1], self._swings[:-1]
        self._published[0], self._swings[0] = far, _shape(self._far.swing(far))
        self._heard.appendleft(near)
        swing = _shape(self._near.swing(near).clip(-15, 25))
        floor = self._settle(near)
        if not (self._published[: LAGS + TAIL] > FAINT_DB).any():
            self._foreign.clear()
            if self._since:  # a viewer may begin anew with another delay
                self._slow, self._quick = _Correlation(MEMORY), _Correlation(SHORT)
            self._since, self._lasted, self._unsure, self._deaf = 0, 0, False, False
            return False
        self._lasted += 1
        if np.count_nonzero(near > floor + HEARD_DB) >= SOME:
            self._since += 1
            self._correlate(swing)
        self._deaf |= self._since <= CLICKS and self._lasted >= DEAF
        self._unsure = self._since < self._needed
        if self._unsure:
            self._judged = 0
            return True
        if self.present:
            self.present = self.echo >= ABSENT
        elif self._since >= UNSURE:
            self.present = self.echo >= PRESENT + EARLY * max(0.0, 1 - (self._since - UNSURE) / (2 * UNSURE))
        if not self.present:
            self._foreign.clear()
            return False
        self._judged += 1
        self._foreign.append(self._judge(near, floor))
        self._elapsed = 0 if sum(self._foreign) >= EVIDENCE else self._elapsed + 1
        return self._elapsed >= HANG

    @property
    def _needed(self) -> int:
        """How many frames with both must be heard before anything is said."""
        if self.present is None:
            return 0 if self._deaf else UNSURE
        return AGAIN if self.present else 0

    def _settle(self, near: Bands) -> Bands:
        """The level of each band when nobody speaks."""
        self._frames += 1
        if self._floor is None or self._frames <= 3:
            self._floor = near.copy()
        self._floor += np.where(near < self._floor, 0.3 * (near - self._floor), 0.03)
        return self._floor

    def _correlate(self, swing: Bands) -> None:
        frame = self._swings @ swing, np.einsum("ij,ij->i", self._swings, self._swings), float(swing @ swing)
        slow, quick = self._slow.add(*frame), self._quick.add(*frame)
        best = int(slow.argmax())
        if (self._since < FIRST and not self.present) or slow[best] > slow[self._lag] + BETTER:
            self._lag = best
        self.echo = float(slow[best])
        other = int(quick.argmax())
        self._other = other if quick[other] >= ELSEWHERE else self._lag
        self._alike = float(max(quick[self._lag], quick[self._other]))

    def _judge(self, near: Bands, floor: Bands) -> bool:
        """Whether this frame is somebody else's; learns from it when it is not."""
        if self._gain is None:
            self._gain = self._first_gain(floor)
        loudest = self._loudest(self._lag)
        count = self._unexplained(near, loudest, floor)
        if count >= SOME and self._other != self._lag:
            count = min(count, self._unexplained(near, self._loudest(self._other), floor))
        foreign = count >= MANY or (count >= SOME and self._alike < SAME)
        told = (loudest + self._gain > floor - 3) & (loudest > FAINT_DB)
        step = np.where(near > loudest + self._gain, RISE_DB, -FALL_DB)
        self._gain += np.where(told, step * (0.15 if foreign else 1.0), 0.0)
        return foreign

    def _first_gain(self, floor: Bands) -> Bands:
        """From what was heard before it was certain that it is an echo."""
        found = []
        for age, near in enumerate(self._heard):
            loudest = self._loudest(self._lag, age)
            found.append(np.where((loudest > FAINT_DB) & (near > floor + FLOOR_DB), near - loudest, np.nan))
        table = np.array(found)
        known = ~np.isnan(table)
        middle = float(np.median(table[known])) if known.any() else 0.0
        columns = zip(table.T, known.T, strict=True)
        each = [float(np.median(band[seen])) if seen.any() else middle for band, seen in columns]
        return np.array(each) + FIRST_DB

    def _loudest(self, lag: int, age: int = 0) -> Bands:
        """The published sound that is heard now (``age`` frames ago), if it is so late, with a room's decay."""
        first = max(lag - 1, 0)
        rows = self._published[age + first : age + lag + TAIL]
        decay = DECAY_DB * np.maximum(np.arange(len(rows)) + first - lag, 0)
        found: Bands = (rows - decay[:, None]).max(axis=0)
        return found

    def _unexplained(self, near: Bands, loudest: Bands, floor: Bands) -> int:
        assert self._gain is not None
        most = np.maximum(loudest + self._gain, floor + FLOOR_DB)
        return int(np.count_nonzero(near > most + OVER_DB))


class Published:
    """What viewers of a session hear, by the clock, as far as it is known."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, Pcm]] = deque(maxlen=PIECES)
        """16 kHz samples of the clock at which they begin, and theirs."""

    def add(self, at: int, pcm: Pcm) -> None:
        """A piece.

        Args:
            at: when its first sample is heard, microseconds.
            pcm: s16 mono 48 kHz; empty: what was to be heard from then on will not be.
        """
        first = at * RATE // 1_000_000
        if not len(pcm):
            self._pieces = deque(
                ((begin, piece[: max(0, first - begin)]) for begin, piece in self._pieces if begin < first), PIECES
            )
            return
        resampler = Resampler(SAMPLE_RATE, RATE)
        self._pieces.append((first, np.concatenate([resampler.feed(pcm), resampler.flush(len(pcm))])))

    def __len__(self) -> int:
        return len(self._pieces)

    def read(self, at: int, count: int) -> Pcm:
        """What is heard in ``count`` samples from sample ``at`` of the clock on; what is older is forgotten."""
        found = np.zeros(count, np.int16)
        for begin, piece in self._pieces:
            first, last = max(begin, at), min(begin + len(piece), at + count)
            if first < last:
                found[first - at : last - at] = piece[first - begin : last - begin]
        while self._pieces and self._pieces[0][0] + len(self._pieces[0][1]) < at - RATE:
            self._pieces.popleft()
        return found


class EchoFilter:
    """Takes the avatar's own voice out of the voice probabilities of one microphone.

    A window that is in doubt waits for those after it, and counts as voice once somebody else is heard: an
    utterance begins where it did, however long it took to tell.
    """

    def __init__(self) -> None:
        self._gate = EchoGate()
        self._waiting: deque[tuple[float, bool]] = deque()

    def window(self, probability: float, heard: Pcm, published: Pcm, *, speaking: bool) -> Iterator[float]:
        """The probabilities, of this window and of those before it that have waited, that are certain now.

        Args:
            probability: of a voice in this window.
            heard: ``WINDOW`` samples.
            published: see ``EchoGate.window``.
            speaking: an utterance is open already: nothing waits.
        """
        own, doubt, reach = self._gate.window(heard, published)
        if not own:
            yield from self.flush(believed=True)
            yield probability
            return
        self._waiting.append((probability, doubt))
        if speaking:
            yield from self.flush()
        while self._waiting and (not self._waiting[0][1] or len(self._waiting) > reach):
            self._waiting.popleft()
            yield 0.0

    def flush(self, *, believed: bool = False) -> Iterator[float]:
        """Those that have waited; ``believed``: somebody else is heard."""
        while self._waiting:
            probability, doubt = self._waiting.popleft()
            yield probability if believed and doubt else 0.0
