"""The planted truth of the synthetic shop: what each record is, what each buyer likes, and what follows from both.

- A record has six traits, drawn independently of each other.
- Genre, mood and era show in all three modalities; theme only in the blurb, motif only on the sleeve, sound only in
  the clip. So leaving a modality out loses something that buyers choose by.
- A buyer belongs to a scene and has a taste of their own; both give every trait's levels a liking.
- Utility = sum over traits of weight x liking + the record's popularity; choices are softmax over utilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRAITS: dict[str, tuple[str, ...]] = {
    "genre": ("folk", "jazz", "soul", "reggae", "rock", "electronic", "samba", "minimal"),
    "mood": ("calm", "joyful", "melancholy", "fierce", "dreamy"),
    "era": ("1960s", "1970s", "1980s", "1990s"),
    "theme": ("sea", "city", "winter", "love", "machines", "desert"),
    "motif": ("circles", "stripes", "mountains", "face", "grid", "leaves"),
    "sound": ("strings", "plucked", "bells", "organ", "brass", "flute"),
}
SHOWS_ONLY_IN = {"theme": "text", "motif": "image", "sound": "audio"}

_WEIGHTS = {"genre": 1.0, "mood": 0.6, "era": 0.5, "theme": 0.9, "motif": 0.9, "sound": 0.9}
_SCENES = 12
_SCENE_SHARE = 0.6
_SHARPNESS = 1.35
_POPULARITY_SPREAD = 0.45
# In an order that stays, as the place of each seeds it.
_STREAMS = (
    "record", "buyer", "scene", "sleeve", "clip", "format", "blurb", "artist", "log", "dirt", "log_dirt", "language",
    "profile", "shown", "shown_dirt",
)  # fmt: skip

Floats = NDArray[np.float64]
Likings = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the shop: its traits by name, and the facts that follow from them."""

    number: int
    genre: str
    mood: str
    era: str
    theme: str
    motif: str
    sound: str
    year: int
    popularity: float

    @property
    def record_id(self) -> str:
        """The stable id, for instance rec-0001."""
        return f"rec-{self.number:04d}"


def stream(name: str, seed: int, number: int = 0) -> np.random.Generator:
    """The random numbers of one thing alone, so that record 7 is the same whatever the number of records."""
    return np.random.default_rng([_STREAMS.index(name), seed, number])


def draw_record(seed: int, number: int) -> Record:
    """Draws record `number` (from 1); every trait is independent of the others."""
    rng = stream("record", seed, number)
    traits = {trait: str(rng.choice(levels)) for trait, levels in TRAITS.items()}
    year = int(traits["era"][:4]) + int(rng.integers(10))
    return Record(number=number, year=year, popularity=float(rng.normal(0, _POPULARITY_SPREAD)), **traits)


def draw_likings(seed: int, buyer: int) -> Likings:
    """The liking of buyer `buyer` for each level of each trait: float64, shape (levels of the trait,)."""
    rng = stream("buyer", seed, buyer)
    scene = stream("scene", seed, int(rng.integers(_SCENES)))
    # Some buy by the sleeve, some by the words: how much each trait counts differs between buyers.
    return {
        trait: _SHARPNESS * weight * rng.uniform(0.6, 1.4) * _blend(scene.normal(size=n), rng.normal(size=n))
        for trait, weight in _WEIGHTS.items()
        for n in (len(TRAITS[trait]),)
    }


def _blend(scene: Floats, own: Floats) -> Floats:
    return np.sqrt(_SCENE_SHARE) * scene + np.sqrt(1 - _SCENE_SHARE) * own


def levels_of(records: list[Record]) -> dict[str, NDArray[np.intp]]:
    """Trait -> index of each record's level, shape (number of records,)."""
    return {
        trait: np.array([levels.index(getattr(record, trait)) for record in records], dtype=np.intp)
        for trait, levels in TRAITS.items()
    }


def utilities(likings: Likings, levels: dict[str, NDArray[np.intp]]) -> Floats:
    """What a buyer's likings say of each record, popularity aside: float64, shape (number of records,)."""
    return np.sum([liking[levels[trait]] for trait, liking in likings.items()], axis=0)
