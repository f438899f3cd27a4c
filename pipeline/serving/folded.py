"""Users that are made of the history given in a call: someone new, or who chose something today."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.artefacts.fused import PROFILES
from pipeline.artefacts.published import FOLD_IN, FULL, Published
from pipeline.artefacts.read import AGAIN
from pipeline.artefacts.vectors import matrix
from pipeline.errors import ConfigError, NotPublished, ShardCorrupt
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.recommend.sides import FoldSide, PastOf, Split, UserSide
from pipeline.serving.answer import Choice
from pipeline.serving.item_rows import ItemRows
from pipeline.storage.documents import Json

# In days: ids alone are one after the other, and of one age.
MOMENT = 1e-9


@dataclass(frozen=True)
class FoldIn:
    """Of one index."""

    published: Published
    card: Json
    items: ItemRows

    def prepare(self) -> None:
        """Opens the files, if there are any, and the model is one that is installed."""
        if self.card.get("not_folded_in") == []:
            with suppress(ConfigError):
                self._side.prepare()
                self._profile("")

    def user(self, history: Sequence[str | Choice], user: str | None = None) -> tuple[Floats, Int64s]:
        """The vector, (d,) float32, that the night gives someone of this history, and the items' rows.

        history: oldest first. user: whose profile counts, where the model reads profiles. Raises ConfigError if an item
        is not in the index, a weight or an age is none, the model cannot tell anything of the history, or it makes
        users at night alone.
        """
        past = self._past(history, user)
        vector = self._side.fold_in(past)
        if not vector.any():
            raise ConfigError("history: the model can tell nothing of it; give an item that was chosen before")
        return vector, past.codes

    def split(
        self, item: Floats, history: Sequence[str | Choice], user: str | None = None
    ) -> tuple[float, Int64s, Split]:
        """An item's score for someone of this history: the score, the history's rows, and what each of them adds.

        item: its vector, (d,) float32. Raises as `user`, and ConfigError if a network reads the history.
        """
        vector, _ = self.user(history, user)
        if not isinstance(self._side, UserSide):
            raise ConfigError(f"history: a network of {self.card['model']} reads it, which has no sum of its choices")
        past = self._past(history, user)
        score = float(vector.astype(np.float64) @ item)
        return score, past.codes, self._side.split(vector, item, past)

    def _past(self, history: Sequence[str | Choice], user: str | None) -> PastOf:
        if isinstance(history, str):
            raise ConfigError(f"history: {history} is one text; give a list of item ids, or of choices")
        choices = [choice if isinstance(choice, Choice) else Choice(choice) for choice in history]
        rows = self.items.rows([choice.item_id for choice in choices])
        if unknown := [choice.item_id for choice, row in zip(choices, rows, strict=True) if row < 0]:
            raise NotPublished(f"history: {unknown[0]}: not in the published index")
        weight = np.array([choice.weight for choice in choices], np.float32)
        age_days = np.array([choice.age_days for choice in choices], np.float64)
        if not any(isinstance(choice, Choice) for choice in history):
            age_days += MOMENT * np.arange(len(choices))[::-1]
        if not (np.isfinite(weight) & (weight > 0)).all() or not (np.isfinite(age_days) & (age_days >= 0)).all():
            raise ConfigError("history: weights must be above 0, and ages in days from 0 on")
        codes, places = np.unique(rows, return_inverse=True)
        order = np.lexsort((places, -age_days))
        item = places[order].astype(np.int32)
        past = Interactions(np.zeros_like(item), item, age_days[order], weight[order], 1, len(codes))
        return PastOf(past, codes, self._profile(user))

    def _profile(self, user: str | None) -> Floats | None:
        name = f"{FOLD_IN}/{PROFILES}"
        if user is None or name not in (self.published.sha256 or ()):
            return None
        rows = self.published.table(name).of("user_id", [user], ["vector"])
        return matrix(rows["vector"])[0] if rows.num_rows else None

    @cached_property
    def _side(self) -> FoldSide:
        from pipeline.recommend import kind_of
        from pipeline.recommend.user_sides import NOT_FOLDED

        if "not_folded_in" not in self.card:
            raise ShardCorrupt(f"{self.published.folder}: it has nothing to make users of; {AGAIN}")
        if without := self.card["not_folded_in"]:
            raise ConfigError(f"history: {NOT_FOLDED.format(' and '.join(without))}")
        for name in self.published.sha256 or ():
            if name.startswith(f"{FOLD_IN}/"):
                self.published.path(name)
        side = kind_of(self.card["model"]).fold_side(self.published.folder / FOLD_IN)
        if side is None:
            raise ShardCorrupt(f"{self.published.folder}: it has nothing to make users of; {FULL}")
        return side
