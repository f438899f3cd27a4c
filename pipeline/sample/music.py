"""A few seconds of music: groove and bass by genre, scale, register and room by mood, instruments by sound."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import fft

from pipeline.sample.ogg import with_fixed_serial
from pipeline.sample.tastes import Record, stream
from pipeline.sample.voices import Note, Signal, bass, drum, play

_RATES = {22_050: 0.7, 32_000: 0.18, 44_100: 0.12}
_FORMATS = {"wav": 0.33, "flac": 0.45, "ogg": 0.13, "mp3": 0.09}
_SUBTYPES = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
_STEPS = 16
_LONGEST_SECONDS = 3.8
_ECHO_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Groove:
    """A bar of sixteen steps; in each pattern any character but a dot is a hit."""

    bpm: float
    drums: dict[str, str]
    bass: str
    chords: str
    swing: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """A mood's scale in semitones, pace factor, register in semitones, tune density, brightness in Hz, echo share."""

    scale: tuple[int, ...]
    pace: float
    register: int
    density: float
    cutoff_hz: float
    echo: float
    drums: float


GROOVES = {
    "folk": Groove(96, {"shaker": "x...x...x...x..."}, "x.......x.......", "x...x.x.x...x.x."),
    "jazz": Groove(
        132, {"hat": "x...x..xx...x..x", "rim": "............x..."}, "x...x...x...x...", "...x......x.....", 0.3
    ),
    "soul": Groove(
        92,
        {"kick": "x.....x.x.......", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
        "x..x..x.x...x...",
        "....x.......x...",
    ),
    "reggae": Groove(
        74, {"kick": "........x.......", "rim": "........x......."}, "x..x....x.x..x..", "..x...x...x...x."
    ),
    "rock": Groove(
        138,
        {"kick": "x.....x.x.x.....", "snare": "....x.......x..x", "hat": "x.x.x.x.x.x.x.x."},
        "x.x.x.x.x.x.x.x.",
        "x.......x.......",
    ),
    "electronic": Groove(
        126,
        {"kick": "x...x...x...x...", "hat": "..x...x...x...x.", "shaker": "xxxxxxxxxxxxxxxx"},
        "..xx..xx..xx..xx",
        "x.....x.....x...",
    ),
    "samba": Groove(
        104,
        {"shaker": "xxxxxxxxxxxxxxxx", "tom": "....x.......x.x.", "rim": "x..x..x...x..x.."},
        "x..xx..xx..xx..x",
        "x..x...x..x.....",
    ),
    "minimal": Groove(66, {}, "x...............", "x..............."),
}
ROOMS = {
    "calm": Room((0, 2, 4, 7, 9), 0.9, 0, 0.3, 3200, 0.15, 0.45),
    "joyful": Room((0, 2, 4, 5, 7, 9, 11), 1.12, 7, 0.75, 9000, 0.05, 1.0),
    "melancholy": Room((0, 2, 3, 5, 7, 8, 10), 0.82, -5, 0.35, 2200, 0.3, 0.5),
    "fierce": Room((0, 1, 3, 5, 6, 8, 10), 1.22, -2, 0.95, 10_000, 0.0, 1.6),
    "dreamy": Room((0, 2, 4, 6, 7, 9, 11), 0.85, 5, 0.5, 5000, 0.6, 0.4),
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
    heard = np.column_stack([_in_room(side, record.mood, rate) for side in sides])
    heard *= np.float32(0.85) / np.abs(heard).max()
    return _encode(heard, rate, suffix)


def _perform(record: Record, rate: int, rng: np.random.Generator) -> tuple[Signal, Signal]:
    groove, room = GROOVES[record.genre], ROOMS[record.mood]
    length = int(rate * rng.uniform(3.0, _LONGEST_SECONDS))
    step = rate * 15 / (groove.bpm * room.pace * rng.uniform(0.95, 1.05))
    tune, rhythm = np.zeros(length, np.float32), np.zeros(length, np.float32)
    key = int(rng.integers(-3, 4)) + room.register
    degrees = rng.choice((0, 3, 4, 5), size=8)
    line = int(rng.integers(3, 7))
    for number in range(int(length / step) + 1):
        place = int(step * (number + groove.swing * (number % 4 == 3)))
        at, root = number % _STEPS, int(degrees[number // 8 % 8])
        for name, pattern in groove.drums.items():
            if pattern[at] != ".":
                _add(rhythm, place, 0.5 * room.drums * drum(name, rate))
        if groove.bass[at] != ".":
            _add(rhythm, place, 0.35 * bass(_hertz(room, key - 24, root), 3 * step / rate, rate))
        if groove.chords[at] != ".":
            span = _until_next(groove.chords, at) * step / rate
            for third in (0, 2, 4):
                note = Note(_hertz(room, key - 12, root + third), min(span, 1.6), 0.22)
                _add(tune, place, play(record.sound, note, rate))
        if at % 2 == 0 and rng.random() < room.density:
            line = int(np.clip(line + rng.integers(-2, 3), 0, 9))
            note = Note(_hertz(room, key, line), float(rng.choice((2, 2, 4))) * step / rate, 0.4)
            _add(tune, place, play(record.sound, note, rate))
    return tune, rhythm


def _hertz(room: Room, key: int, degree: int) -> float:
    octave, place = divmod(degree, len(room.scale))
    return 261.63 * 2.0 ** ((key + 12 * octave + room.scale[place]) / 12)


def _until_next(pattern: str, at: int) -> int:
    following = (pattern + pattern).find("x", at + 1)
    return following - at


def _add(mix: Signal, place: int, sound: Signal) -> None:
    sound = sound[: max(len(mix) - place, 0)]
    mix[place : place + len(sound)] += sound


def _in_room(dry: Signal, mood: str, rate: int) -> Signal:
    """Low-passes and echoes in the frequency domain, in one multiplication."""
    points = fft.next_fast_len(int(rate * (_LONGEST_SECONDS + _ECHO_SECONDS)), real=True)
    heard = fft.irfft(fft.rfft(dry, points) * _response(mood, rate, points), points)
    return heard[: len(dry)].astype(np.float32)


@lru_cache(maxsize=32)
def _response(mood: str, rate: int, points: int) -> NDArray[np.complex64]:
    room = ROOMS[mood]
    hertz = np.arange(points // 2 + 1) * (rate / points)
    lowpass = 1 / np.sqrt(1 + (hertz / room.cutoff_hz) ** 4)
    time = np.arange(int(rate * _ECHO_SECONDS)) / rate
    echoes = np.random.default_rng(11).normal(0, 1, len(time)) * np.exp(-7 * time) / np.sqrt(rate / 14)
    return (lowpass * (1 + room.echo * fft.rfft(echoes, points))).astype(np.complex64)


def _encode(heard: Signal, rate: int, suffix: str) -> bytes:
    output = io.BytesIO()
    soundfile.write(output, heard, rate, format=suffix.upper(), subtype=_SUBTYPES[suffix])
    return with_fixed_serial(output.getvalue()) if suffix == "ogg" else output.getvalue()
