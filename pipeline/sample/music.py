"""A few seconds of music: groove and bass by genre, scale, register and touch by mood, instruments by sound.

The room (by mood) and the recording (by era) are the studio's.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile

from pipeline.sample import studio
from pipeline.sample.ogg import with_fixed_serial
from pipeline.sample.tastes import Record, stream
from pipeline.sample.voices import Note, Signal, bass, drum, play

_RATES = {22_050: 0.7, 32_000: 0.18, 44_100: 0.12}
_FORMATS = {"wav": 0.33, "flac": 0.45, "ogg": 0.13, "mp3": 0.09}
_SUBTYPES = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
_STEPS = 16
_TUNE_LEVEL = 1.7


@dataclass(frozen=True, slots=True)
class Groove:
    """How a genre plays: a bar of sixteen steps; in each pattern any character but a dot is a hit.

    `bass_voice` is one of `voices.BASSES`; chords ring for at most `stab` seconds.
    """

    bpm: float
    drums: dict[str, str]
    bass: str
    bass_voice: str
    chords: str
    stab: float
    swing: float = 0.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a mood plays: scale and register in semitones, pace, note lengths and drums as factors, tune density."""

    scale: tuple[int, ...]
    pace: float
    register: int
    density: float
    length: float
    drums: float


GROOVES = {
    "folk": Groove(
        96,
        {"shaker": "x.x.x.x.x.x.x.x.", "stomp": "x.......x......."},
        "x.......x.......",
        "upright",
        "x.x.x.x.x.x.x.x.",
        0.7,
    ),
    "jazz": Groove(
        132,
        {"ride": "x...x..xx...x..x", "hat": "....x.......x...", "rim": "............x..."},
        "x...x...x...x...",
        "upright",
        "...x......x.....",
        0.6,
        swing=0.3,
    ),
    "soul": Groove(
        92,
        {"kick": "x.....x.x.......", "clap": "....x.......x...", "tambourine": "x.x.x.x.x.x.x.x."},
        "x..x..x.x...x...",
        "finger",
        "....x.......x...",
        0.6,
    ),
    "reggae": Groove(
        74,
        {"kick": "........x.......", "rim": "....x...x...x.x."},
        "x..x....x.x..x..",
        "sub",
        "..x...x...x...x.",
        0.4,
    ),
    "rock": Groove(
        138,
        {"kick": "x.....x.x.x.....", "snare": "....x.......x..x", "crash": "x...x...x...x..."},
        "x.x.x.x.x.x.x.x.",
        "fuzz",
        "x.......x.......",
        1.6,
    ),
    "electronic": Groove(
        126,
        {"kick": "x...x...x...x...", "hat": "..x...x...x...x.", "blip": "x..x..x...x..x.."},
        "..xx..xx..xx..xx",
        "square",
        "x.....x.....x...",
        0.6,
    ),
    "samba": Groove(
        104,
        {"shaker": "xxxxxxxxxxxxxxxx", "tom": "....x.......x.x.", "agogo": "x..x..x...x..x.."},
        "x..xx..xx..xx..x",
        "finger",
        "x..x...x..x.....",
        0.5,
    ),
    "minimal": Groove(66, {}, "x...............", "drone", "x...............", 1.6),
}
MANNERS = {
    "calm": Manner((0, 2, 4, 7, 9), 0.9, 0, 0.3, 1.0, 0.8),
    "joyful": Manner((0, 2, 4, 5, 7, 9, 11), 1.1, 7, 0.8, 0.6, 1.0),
    "melancholy": Manner((0, 2, 3, 5, 7, 8, 10), 0.85, -7, 0.4, 1.3, 0.8),
    "fierce": Manner((0, 1, 3, 5, 6, 8, 10), 1.2, -2, 0.95, 0.7, 1.3),
    "dreamy": Manner((0, 2, 4, 6, 7, 9, 11), 0.85, 7, 0.5, 1.7, 0.8),
}


def suffix_of(record: Record, seed: int) -> str:
    """The format of the record's clip: wav, flac, ogg or mp3."""
    return str(stream("format", seed, record.number).choice(list(_FORMATS), p=list(_FORMATS.values())))


def clip_of(record: Record, seed: int) -> bytes:
    """Three to four seconds of the record as a file, mono or stereo, at 22.05, 32 or 44.1 kHz."""
    rng = stream("clip", seed, record.number)
    suffix, rate = suffix_of(record, seed), int(rng.choice(list(_RATES), p=list(_RATES.values())))
    tune, rhythm = _perform(record, rate, rng)
    stereo = rng.random() < 0.25
    sides = (tune * 1.15 + rhythm * 0.9, tune * 0.85 + rhythm * 1.1) if stereo else (tune + rhythm,)
    heard = [studio.record(side, record.mood, record.era, rate, rng) for side in sides]
    return _encode(np.column_stack(heard), rate, suffix)


def _perform(record: Record, rate: int, rng: np.random.Generator) -> tuple[Signal, Signal]:
    groove, manner = GROOVES[record.genre], MANNERS[record.mood]
    length = int(rate * rng.uniform(3.4, studio.LONGEST_SECONDS))
    step = rate * 15 / (groove.bpm * manner.pace * rng.uniform(0.97, 1.03))
    tune, rhythm = np.zeros(length, np.float32), np.zeros(length, np.float32)
    key = int(rng.integers(-1, 2)) + manner.register
    degrees = rng.choice((0, 3, 4), size=8)
    line = int(rng.integers(3, 6))
    for number in range(int(length / step) + 1):
        place = int(step * (number + groove.swing * (number % 4 == 3)))
        at, root = number % _STEPS, int(degrees[number // 8 % 8])
        for name, pattern in groove.drums.items():
            if pattern[at] != ".":
                _add(rhythm, place, 1.1 * manner.drums * drum(name, rate))
        if groove.bass[at] != ".":
            note = Note(_hertz(manner, key - 24, root), 3 * step / rate, 0.35)
            _add(rhythm, place, bass(groove.bass_voice, note, rate))
        if groove.chords[at] != ".":
            span = min(_until_next(groove.chords, at) * step / rate, groove.stab)
            for third in (0, 2, 4):
                note = Note(_hertz(manner, key - 12, root + third), min(span * manner.length, 1.6), 0.22)
                _add(tune, place, play(record.sound, note, rate))
        if at % 2 == 0 and rng.random() < manner.density:
            line = int(np.clip(line + rng.integers(-2, 3), 1, 7))
            span = float(rng.choice((2, 2, 4))) * step / rate
            _add(tune, place, play(record.sound, Note(_hertz(manner, key, line), span * manner.length, 0.4), rate))
    return np.float32(_TUNE_LEVEL) * studio.embodied(tune, record.sound, rate), rhythm


def _hertz(manner: Manner, key: int, degree: int) -> float:
    octave, place = divmod(degree, len(manner.scale))
    return 261.63 * 2.0 ** ((key + 12 * octave + manner.scale[place]) / 12)


def _until_next(pattern: str, at: int) -> int:
    following = (pattern + pattern).find("x", at + 1)
    return following - at


def _add(mix: Signal, place: int, sound: Signal) -> None:
    sound = sound[: max(len(mix) - place, 0)]
    mix[place : place + len(sound)] += sound


def _encode(heard: Signal, rate: int, suffix: str) -> bytes:
    output = io.BytesIO()
    soundfile.write(output, heard, rate, format=suffix.upper(), subtype=_SUBTYPES[suffix])
    return with_fixed_serial(output.getvalue()) if suffix == "ogg" else output.getvalue()
