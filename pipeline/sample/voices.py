"""The shop's instruments: six families that play the notes (the *sound* trait), and the basses and drums of the genres.

Pitched families read single-cycle wavetables, cut off below half the sample rate; bells add inharmonic sines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]

_TABLE = 2048
# Partials of a struck bar and their strengths: Fletcher & Rossing, The Physics of Musical Instruments, ch. 21.
_BELL = ((0.5, 0.35), (1.0, 1.0), (1.19, 0.6), (2.0, 0.7), (2.76, 0.55), (5.4, 0.35))


@dataclass(frozen=True, slots=True)
class Note:
    """A note: frequency in Hz, length in seconds, level from 0 to 1."""

    hertz: float
    seconds: float
    level: float


def play(family: str, note: Note, rate: int) -> Signal:
    """The note as one family plays it: float32, shape (samples,), about within +-level."""
    samples = max(int(note.seconds * rate), 64)
    seconds = np.arange(samples, dtype=np.float32) / np.float32(rate)
    return np.float32(note.level) * _FAMILIES[family](note.hertz, seconds, rate)


def bass(voice: str, note: Note, rate: int) -> Signal:
    """A bass note by one of `BASSES`, which a genre chooses whatever the family of the tune."""
    shape, per_second, attack = BASSES[voice]
    time = np.arange(int(note.seconds * rate), dtype=np.float32) / np.float32(rate)
    fall = np.exp(-time * np.float32(per_second)) * _swell(time, attack)
    return np.float32(2 * note.level) * _wave(shape, note.hertz * time, note.hertz, rate) * fall


@lru_cache(maxsize=64)
def drum(name: str, rate: int) -> Signal:
    """One hit of one of `DRUMS`; always the same samples."""
    length, pitch, noise, fall = DRUMS[name]
    time = np.arange(int(length * rate), dtype=np.float32) / np.float32(rate)
    hiss = np.random.default_rng(7).normal(0, 0.5, len(time)).astype(np.float32)
    if name in _BRIGHT:
        hiss = np.diff(hiss, prepend=np.float32(0))
    tone = np.sin(2 * np.pi * pitch * (time + 0.06 * (1 - np.exp(-time * 30)))) if pitch else np.float32(0)
    return ((1 - noise) * tone + noise * hiss) * np.exp(-time * fall)


# waveform, decay per second, attack in seconds
BASSES = {
    "upright": ("soft", 6.0, 0.004),
    "finger": ("round", 3.5, 0.01),
    "sub": ("sine", 0.8, 0.02),
    "fuzz": ("fuzz", 1.5, 0.003),
    "square": ("square", 9.0, 0.002),
    "drone": ("drawbar", 0.3, 0.25),
}
# seconds, Hz, share of noise, decay per second
DRUMS = {
    "kick": (0.28, 52.0, 0.02, 14.0),
    "stomp": (0.25, 78.0, 0.1, 16.0),
    "snare": (0.2, 185.0, 0.7, 20.0),
    "clap": (0.16, 0.0, 0.8, 26.0),
    "hat": (0.06, 0.0, 1.0, 70.0),
    "ride": (0.5, 3150.0, 0.8, 7.0),
    "crash": (0.9, 0.0, 0.45, 3.5),
    "shaker": (0.1, 0.0, 0.5, 40.0),
    "tambourine": (0.12, 6400.0, 0.7, 28.0),
    "rim": (0.05, 820.0, 0.2, 80.0),
    "agogo": (0.22, 1180.0, 0.02, 16.0),
    "blip": (0.09, 1900.0, 0.0, 30.0),
    "tom": (0.3, 110.0, 0.05, 11.0),
}
_BRIGHT = {"hat", "ride", "crash", "shaker", "tambourine"}


def _strings(hertz: float, time: Signal, rate: int) -> Signal:
    vibrato = hertz * (time + np.float32(0.0006) * np.sin(2 * np.pi * 5.2 * time) / 5.2 * 2)
    pair = _wave("saw", vibrato, hertz, rate) + _wave("saw", vibrato * 1.004, hertz, rate)
    return 0.5 * pair * _swell(time, 0.12)


def _plucked(hertz: float, time: Signal, rate: int) -> Signal:
    phase = hertz * time
    bright = _wave("comb", phase, hertz, rate) * _decay(time, 14)
    return bright + 0.7 * _wave("soft", phase, hertz, rate) * _decay(time, 5)


def _bells(hertz: float, time: Signal, rate: int) -> Signal:
    partials = [
        strength * np.sin(2 * np.pi * hertz * 2 * ratio * time) * _decay(time, 2 + 1.5 * ratio)
        for ratio, strength in _BELL
        if hertz * 2 * ratio < rate * 0.45
    ]
    return (0.4 * np.sum(partials, axis=0)).astype(np.float32)


def _organ(hertz: float, time: Signal, rate: int) -> Signal:
    tremolo = 1 + 0.15 * np.sin(2 * np.pi * 6.5 * time)
    return _wave("drawbar", hertz * time, hertz, rate) * tremolo * _swell(time, 0.01)


def _brass(hertz: float, time: Signal, rate: int) -> Signal:
    blare = np.minimum(time / 0.05, 1) * (0.45 + 0.55 * np.exp(-time * 4))
    phase = hertz * time
    return (blare * _wave("horn", phase, hertz, rate) + 0.5 * _wave("soft", phase, hertz, rate)) * _swell(time, 0.03)


def _flute(hertz: float, time: Signal, rate: int) -> Signal:
    breath = np.resize(_breath(rate), len(time))
    phase = 2 * hertz * (time + np.float32(0.0008) * np.sin(2 * np.pi * 4.6 * time))
    return (0.8 * _wave("soft", phase, 2 * hertz, rate) + breath) * _swell(time, 0.07)


_FAMILIES = {
    "strings": _strings,
    "plucked": _plucked,
    "bells": _bells,
    "organ": _organ,
    "brass": _brass,
    "flute": _flute,
}


def _wave(shape: str, phase: Signal, hertz: float, rate: int) -> Signal:
    harmonics = min(int(rate * 0.45 / hertz), 40)
    places = (phase * np.float32(_TABLE)).astype(np.int32) & (_TABLE - 1)
    return _table(shape, max(harmonics, 1))[places]


@lru_cache(maxsize=512)
def _table(shape: str, harmonics: int) -> Signal:
    n = np.arange(1, harmonics + 1)
    strengths = {
        "sine": n == 1,
        "round": 0.25 ** (n - 1.0),
        "square": (n % 2) / n,
        "fuzz": 1 / n**0.5,
        "saw": 1 / n,
        "comb": np.abs(np.sin(np.pi * n * 0.19)) / n**0.6,
        "soft": 1 / n**2.8,
        "drawbar": np.isin(n, (1, 2, 3, 4, 6, 8)) * 0.6,
        "horn": np.exp(-0.5 * ((n - 5) / 3.5) ** 2),
    }[shape]
    turn = np.arange(_TABLE) / _TABLE
    cycle = np.sum(strengths[:, None] * np.sin(2 * np.pi * n[:, None] * turn), axis=0)
    return (cycle / np.sqrt(np.mean(cycle**2)) * 0.5).astype(np.float32)


@lru_cache(maxsize=4)
def _breath(rate: int) -> Signal:
    return np.random.default_rng(5).normal(0, 0.1, 2 * rate).astype(np.float32)


def _decay(time: Signal, per_second: float) -> Signal:
    return np.exp(-time * np.float32(per_second)) * np.minimum(time * 400, 1) * _release(time)


def _swell(time: Signal, attack: float) -> Signal:
    return np.minimum(time / np.float32(attack), 1) * _release(time)


def _release(time: Signal) -> Signal:
    return np.clip((time[-1] - time) * 40, 0, 1)
