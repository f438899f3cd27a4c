"""How and when a record is made: the instrument's body, the room that a mood is played in, a decade's desk and tape.

- A body is the tone of an instrument, the same at every pitch.
- A room is a tone, an echo and, for the fierce, an overdriven amplifier; a little of its air is in every recording.
- A desk is the tone of a decade's recordings, how hard it drives the tape, and what the medium adds: hiss and crackle
  in the 1960s, a saturated tape in the 1970s, a bright reverb cut short in the 1980s, a wide band pushed loud in the
  1990s.

A tone is a gain in dB at some frequencies in Hz, straight between them over the logarithm of frequency.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pipeline.sample.voices import Signal

LONGEST_SECONDS = 3.8
_TAIL_SECONDS = 0.7
_CRACKLES_PER_SECOND = 9
_QUIET = 1e-6
# Of the root mean square of what is played.
_BED = 0.03

Tone = tuple[tuple[float, float], ...]
Response = NDArray[np.complex64]


@dataclass(frozen=True, slots=True)
class Echo:
    """A reverb: its level beside the dry sound, its decay per second, its length in seconds, and its lowest Hz."""

    share: float
    decay: float
    seconds: float
    from_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """A mood's tone, echo and overdrive (0 is clean)."""

    tone: Tone
    echo: Echo
    drive: float = 0.0


@dataclass(frozen=True, slots=True)
class Desk:
    """A decade's tone, echo, drive of the tape (0 is clean), and hiss and crackle as shares of full scale."""

    tone: Tone
    echo: Echo
    drive: float
    hiss: float = 0.0
    crackle: float = 0.0


_DRY = Echo(0, 1, 0)
ROOMS = {
    "calm": Room(
        ((100, -8), (300, 4), (700, 12), (1400, 3), (3000, -15), (6000, -5), (11_000, -12)), Echo(0.2, 9, 0.5)
    ),
    "joyful": Room(((100, -8), (500, -5), (1500, 1), (3500, 8), (6000, 9), (11_000, 10)), Echo(0.05, 14, 0.3)),
    "melancholy": Room(
        ((100, 9), (300, 7), (800, -6), (1600, -12), (3000, -14), (5000, -24), (11_000, -34)), Echo(0.4, 6, 0.6)
    ),
    "fierce": Room(((100, -8), (400, 0), (900, 5), (1800, 16), (3000, 12), (5000, -6), (11_000, -14)), _DRY, 3.0),
    "dreamy": Room(
        ((100, 2), (300, -8), (700, -14), (1600, -6), (3000, -2), (5000, 5), (11_000, 3)), Echo(0.9, 4, 0.7)
    ),
}
BODIES: dict[str, Tone] = {
    "strings": ((150, -10), (280, 10), (600, -10), (1100, 6), (1800, -6), (2900, 15), (4500, -5), (11_000, -15)),
    "plucked": ((110, 12), (220, 11), (450, -4), (900, -11), (1700, -5), (3200, -11), (5500, 12), (11_000, 4)),
    "bells": ((150, -22), (500, -15), (1000, 5), (2000, 15), (3500, -4), (6000, 15), (11_000, 12)),
    "organ": ((100, 5), (300, 4), (700, 12), (1100, 0), (1600, 10), (2600, -16), (5000, -20), (11_000, -20)),
    "brass": ((150, -12), (400, -8), (750, 5), (1300, 18), (2200, 4), (3500, -12), (6000, 4), (11_000, -10)),
    "flute": ((200, -6), (500, 12), (900, 10), (1500, -11), (2500, -15), (4500, 5), (7500, 15), (11_000, 6)),
}
DESKS = {
    "1960s": Desk(
        ((60, -30), (150, -10), (350, 3), (1000, 7), (2800, 3), (4500, -12), (6500, -26), (11_000, -36)),
        _DRY,
        drive=0.8,
        hiss=0.003,
        crackle=0.12,
    ),
    "1970s": Desk(
        ((60, 4), (150, 9), (350, 7), (900, 0), (2000, -8), (4000, -4), (6500, -8), (11_000, -20)),
        _DRY,
        drive=2.2,
        hiss=0.0006,
    ),
    "1980s": Desk(
        ((60, -10), (150, -5), (350, -10), (900, -8), (2200, 4), (4000, 11), (7000, 8), (11_000, 11)),
        Echo(0.6, 0, 0.16, 900),
        drive=0.0,
    ),
    "1990s": Desk(
        ((50, 12), (110, 10), (220, -3), (600, -6), (1500, 2), (2800, -4), (5000, -1), (8000, 9), (11_000, 10)),
        _DRY,
        drive=1.0,
    ),
}


def embodied(tune: Signal, sound: str, rate: int) -> Signal:
    """The tune through its instrument's body: float32, same shape."""
    return _through(tune, _response(BODIES[sound], _DRY, rate))


def record(dry: Signal, mood: str, era: str, rate: int, rng: np.random.Generator) -> Signal:
    """The dry sound as a mood's room and a decade's desk give it: float32, same shape, its largest sample 0.85."""
    room, desk = ROOMS[mood], DESKS[era]
    dry = dry + _bed(dry, rng)
    played = _through(_driven(dry, room.drive), _response(room.tone, room.echo, rate))
    heard = _through(_driven(played, desk.drive), _response(desk.tone, desk.echo, rate))
    heard /= np.abs(heard).max() + np.float32(_QUIET)
    heard += _noise(desk, len(heard), rate, rng)
    return heard * (np.float32(0.85) / np.abs(heard).max())


def _driven(clean: Signal, drive: float) -> Signal:
    """Soft clipping by the hyperbolic tangent, at a level relative to the root mean square."""
    if not drive:
        return clean
    level = np.float32(drive / (4 * np.sqrt(np.mean(clean**2)) + _QUIET))
    return np.tanh(clean * level)


def _bed(dry: Signal, rng: np.random.Generator) -> Signal:
    """The air of the room: white noise, float32, same shape, before any tone; what rests between notes has one too."""
    level = np.float32(_BED * np.sqrt(np.mean(dry**2)))
    return level * rng.standard_normal(len(dry), dtype=np.float32)


def _noise(desk: Desk, length: int, rate: int, rng: np.random.Generator) -> Signal:
    noise = np.float32(desk.hiss) * rng.standard_normal(length, dtype=np.float32)
    if desk.crackle:
        places = rng.integers(length, size=int(_CRACKLES_PER_SECOND * length / rate))
        noise[places] += (desk.crackle * rng.uniform(-1, 1, len(places)) ** 3).astype(np.float32)
    return noise


def _through(sound: Signal, response: Response) -> Signal:
    points = 2 * (len(response) - 1)
    return fft.irfft(fft.rfft(sound, points) * response, points)[: len(sound)]


@lru_cache(maxsize=96)
def _response(tone: Tone, echo: Echo, rate: int) -> Response:
    points = 2 * int(fft.next_fast_len(int(rate * (LONGEST_SECONDS + _TAIL_SECONDS) / 2), real=True))
    hertz = np.arange(points // 2 + 1, dtype=np.float64) * (rate / points)
    places, gains = zip(*tone, strict=True)
    decibels = np.interp(np.log(np.maximum(hertz, 1)), np.log(places), gains)
    return (10 ** (decibels / 20) * (1 + echo.share * _echoes(echo, hertz, rate, points))).astype(np.complex64)


def _echoes(echo: Echo, hertz: NDArray[np.float64], rate: int, points: int) -> NDArray[np.complex128]:
    """The spectrum of decaying noise of unit energy, without what is below the echo's lowest frequency."""
    time = np.arange(int(rate * echo.seconds)) / rate
    if not len(time):
        return np.zeros(len(hertz), np.complex128)
    tail = np.random.default_rng(11).normal(0, 1, len(time)) * np.exp(-echo.decay * time)
    spectrum: NDArray[np.complex128] = fft.rfft(tail / np.sqrt(np.sum(tail**2)), points)
    return spectrum * (hertz >= echo.from_hz)
