"""Explain: what each modality contributes to a published score, of a user and an item or of two items, and of a user's
score which past choices it comes from.

See `pipeline.explain.by_modality` and `pipeline.explain.by_history` for what is computed. Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.artefacts.published import current
from pipeline.artefacts.read import read_table
from pipeline.artefacts.vectors import matrix
from pipeline.config import Modality
from pipeline.errors import ConfigError, ShardCorrupt
from pipeline.explain.by_history import HistoryShares, shares_of
from pipeline.explain.by_modality import Explainer, Game, sources_of
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import Codes
from pipeline.recommend import kind_of
from pipeline.workspace import Json

BAR_LETTERS = 24
NOTHING = "none"


@dataclass(frozen=True)
class Question:
    """Whose score: a user's and an item's, or that of an item and another."""

    item: str | None = None
    user: str | None = None
    other: str | None = None

    def items(self) -> list[str]:
        """The items asked about. Raises ConfigError if it is neither of the two questions."""
        if self.item is None or (self.user is None) == (self.other is None):
            raise ConfigError("ask for --user and --item, or for --item and --other")
        return [self.item] if self.other is None else [self.item, self.other]


@dataclass(frozen=True)
class Explanation:
    """What is published, told apart by modality and by past choices.

    titles: of the items, in the order asked. chosen: whether the user has the item already; None without a user.
    model: the recommender whose score it is; None for a cosine of two items. fixed: the members of a blend whose items
    are the same whatever their content. game: of modalities; None where no item of the model can be made again from
    content. past: None without a user, and where users are no sums of what they chose. missing: modality to the reason.
    """

    index: str
    question: Question
    titles: list[str]
    chosen: bool | None
    model: str | None
    fixed: tuple[str, ...]
    score: float
    game: Game | None
    past: HistoryShares | None
    missing: dict[Modality, str]

    def by_modality(self) -> Json:
        """score = base + the sum of contributions, each modality's Shapley value; all None without a game.

        values: the score from every subset of what the item has, by name, such as text+image.
        """
        if self.game is None:
            return dict.fromkeys(("base", "contributions", "values"))
        held = [m for m, has in zip(self.game.players, self.game.held[0], strict=True) if has]
        added = self.game.contributions()
        inside = sorted((chosen for chosen in self.game.values if chosen <= set(held)), key=len)
        names = ("+".join(m for m in held if m in chosen) or NOTHING for chosen in inside)
        return {
            "base": float(self.game.base[0]),
            "contributions": {modality: float(added[modality][0]) for modality in held},
            "values": {name: float(self.game.values[chosen][0]) for name, chosen in zip(names, inside, strict=True)},
        }

    def as_json(self) -> Json:
        """The document of `medley explain --json`."""
        found: Json = {"index": self.index, "items": self.question.items()}
        if self.question.user is not None:
            past = None if self.past is None else self.past.as_json()
            found |= {"user": self.question.user, "chosen": self.chosen, "history": past}
        return {**found, "score": self.score, **self.by_modality(), "missing": dict(self.missing)}

    def as_text(self) -> str:
        """The same for people: a line for each part, with its share of all parts as a bar."""
        named = [f"{i} ({t})" if t else i for i, t in zip(self.question.items(), self.titles, strict=True)]
        about = named if self.question.user is None else [f"user {self.question.user}", *named]
        lines = [f"{' and '.join(about)}: {'cosine' if self.model is None else 'score'} {self.score:.4f}"]
        if self.chosen:
            lines.append("  chosen by this user already, so lookup leaves it out")
        return "\n".join([*lines, *self._modality_lines(), *self._past_lines()])

    def _modality_lines(self) -> list[str]:
        if self.game is None:
            return [f"  by modality it cannot be told: {self._why_not()}"]
        told = self.by_modality()
        base = f"  {'base':<6} {told['base']:+9.4f}  {self._base_is()}"
        lacking = (f"  no {name}: {reason}" for name, reason in self.missing.items())
        return [*_bars([(name, value, "") for name, value in told["contributions"].items()]), base, *lacking]

    def _why_not(self) -> str:
        return f"{self.model} {kind_of(str(self.model)).not_remade}"

    def _base_is(self) -> str:
        if self.model is None or not kind_of(self.model).ids:
            return "nothing is said without any content"
        others = f", and by all of {' and '.join(self.fixed)}" if self.fixed else ""
        return f"what is said without any content, by the item's id and popularity or by its being new{others}"

    def _past_lines(self) -> list[str]:
        if self.past is None:
            return []
        told = [("", share, name) for name, share in self.past.largest()]
        others = [("base", self.past.base, "what suits everyone")]
        others += [
            ("rest", value, f"what {'their ' * (name == 'profile')}{name} says")
            for name, value in self.past.rest.items()
        ]
        lines = [f"  {name:<6} {value:+9.4f}  {what}" for name, value, what in others if round(value, 4)]
        return ["by past choices:", *_bars(told), *lines]


def _bars(parts: list[tuple[str, float, str]]) -> list[str]:
    """A line for each name, value and what stands behind its bar, the value's share of all."""
    total = sum(abs(value) for _, value, _ in parts) or 1.0
    return [_line(name, value, abs(value) / total, behind) for name, value, behind in parts]


def _line(name: str, value: float, share: float, behind: str) -> str:
    bar = ("█" if value >= 0 else "░") * max(round(BAR_LETTERS * share), value != 0)
    return f"  {name:<6} {value:+9.4f}  {bar:<{BAR_LETTERS}} {share:4.0%}  {behind}".rstrip()


def explain(workspace: Path, question: Question) -> Explanation:
    """Explains a score of the published index.

    Raises ConfigError if the question is wrong, or the user or an item is not in the index; WorkspaceError if nothing
    is published or what it was made from is gone; ShardCorrupt if that is not what the index was made from.
    """
    asked = question.items()
    published = current(workspace)
    index = workspace / str(published["index"])
    titles = [_title(index, item, flag) for item, flag in zip(asked, ("--item", "--other"), strict=False)]
    user = (
        None if question.user is None else _row(index / "users.parquet", "user_id", question.user, ["vector", "seen"])
    )
    if user is not None and not user.num_rows:
        raise ConfigError(f"--user {question.user}: not in the published index; only users with a history are")
    sources = sources_of(workspace, index)
    explainer = Explainer(sources)
    codes = explainer.codes(asked)
    if set(codes) != set(asked):
        raise ShardCorrupt(f"index {index}: it has items that its shards have not; run the night with --full")
    rows = np.array([codes[item] for item in asked], np.int64)
    first, second = (
        (np.nan_to_num(_vector(sources.fused / "items", item)) for item in asked)
        if user is None
        else (matrix(user["vector"])[0], _vector(sources.trained / "published" / "item_vectors.parquet", asked[0]))
    )
    score = float(first.astype(np.float64) @ second)
    return Explanation(
        index=str(published["digest"]),
        question=question,
        titles=titles,
        chosen=None if user is None else question.item in user["seen"][0].as_py(),
        model=None if user is None else sources.model,
        fixed=() if explainer.items is None else explainer.items.fixed,
        score=score,
        game=_game(explainer, None if user is None else first, rows, score),
        past=None if user is None else shares_of(explainer, index, str(question.user), (first, second)),
        missing=_missing(explainer, codes),
    )


def _game(explainer: Explainer, user: Vectors | None, rows: Codes, score: float) -> Game | None:
    if user is None:
        return explainer.of_items(rows, score)
    return None if explainer.items is None else explainer.of_users(user[None], rows, np.array([score]))


def _missing(explainer: Explainer, codes: dict[str, int]) -> dict[Modality, str]:
    """Why a modality is missing; of two items, which one lacks it."""
    found = {item: explainer.missing(code) for item, code in codes.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    reasons = {m: [f"{item}: {lacks[m]}" for item, lacks in found.items() if m in lacks] for m in explainer.modalities}
    return {modality: "; ".join(told) for modality, told in reasons.items() if told}


def _title(index: Path, item: str, flag: str) -> str:
    found = _row(index / "items.parquet", "item_id", item, ["title"])
    if not found.num_rows:
        raise ConfigError(f"{flag} {item}: not in the published index")
    return str(found["title"][0].as_py() or "")


def _vector(path: Path, item: str) -> Vectors:
    return matrix(_row(path, "item_id", item, ["vector"])["vector"])[0]


def _row(path: Path, key: str, value: str, columns: list[str]) -> pa.Table:
    return read_table(path, columns, ds.field(key) == value)
