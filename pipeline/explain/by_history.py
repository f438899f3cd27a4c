"""By history: how much each item that a user chose adds to the first stage's score of another.

Only a model whose users are sums over what they chose can be split so, see `recommend.user_sides`; attention over a
history is no sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import ShardCorrupt
from pipeline.explain.by_modality import ModalityGames
from pipeline.interactions import Floats
from pipeline.recommend import kind_of
from pipeline.recommend.sides import PastOf

SHOWN = 5


@dataclass(frozen=True)
class PastChoice:
    """An item of the user's history, and how much of the score it adds."""

    item_id: str
    title: str
    share: float

    @property
    def named(self) -> str:
        """The item's id, and its title where it has one."""
        return f"{self.item_id} ({self.title})" if self.title else self.item_id


@dataclass(frozen=True)
class HistoryShares:
    """score = base + the shares of choices + the sum of rest.

    base: what suits everyone, whatever they chose. choices: those that add or take most first. rest: by name, what the
    user's profile says, and those members of a blend whose users are no sums.
    """

    base: float
    choices: list[PastChoice]
    rest: dict[str, float]

    def largest(self) -> list[tuple[str, float]]:
        """The few choices that matter most, then all others together: what each is, and its share."""
        few, others = self.choices[:SHOWN], self.choices[SHOWN:]
        shares = [(choice.named, choice.share) for choice in few]
        return [*shares, (f"{len(others)} more", sum(choice.share for choice in others))] if others else shares


def shares_of(games: ModalityGames, user: str, vectors: tuple[Floats, Floats]) -> HistoryShares | None:
    """Splits a published score; None where users are no sums. vectors: the user's and the item's, (d,) float32.

    Raises ShardCorrupt if the log is not that which the published user was made of.
    """
    sources = games.sources
    side = kind_of(sources.model).user_side(sources.trained / "published")
    if side is None:
        return None
    items, history = sources.staged.read_choices(user)
    codes = games.codes(items)
    if len(codes) < len(items):
        raise ShardCorrupt(
            f"{sources.staged.folder}: {user} chose items that the index lacks; run the night with --full"
        )
    of_items = np.array([codes[item] for item in items], np.int64)
    split = side.split(*vectors, PastOf(history, of_items, sources.fused.profile(user)))
    table = sources.index.items(["item_id", "title"], items)
    titles = dict(zip(table["item_id"].to_pylist(), table["title"].to_pylist(), strict=True))
    order = np.argsort(-np.abs(split.choices), kind="stable")
    choices = [PastChoice(items[at], titles.get(items[at]) or "", float(split.choices[at])) for at in order]
    return HistoryShares(split.base, choices, split.rest)
