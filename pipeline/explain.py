"""Explain: what each modality contributes to a published score, of a user and an item or of two items.

See `pipeline.contributions` for what is computed. Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.config import Modality
from pipeline.contributions import Explainer, Game, Sources, Subset, sources_of
from pipeline.errors import ConfigError, ShardCorrupt
from pipeline.fusion.base import Codes
from pipeline.fusion.moments import Vectors
from pipeline.lookup import current
from pipeline.tables import matrix
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
    """score = base + the sum of contributions.

    titles: of the items, in the order asked. chosen: whether the user has the item already; None without a user.
    model: the recommender whose score it is; None for a cosine of two items. missing: modality to the reason.
    """

    index: str
    question: Question
    titles: list[str]
    chosen: bool | None
    model: str | None
    game: Game
    missing: dict[Modality, str]

    @property
    def players(self) -> list[Modality]:
        """The modalities that are there."""
        return [m for m, held in zip(self.game.players, self.game.held[0], strict=True) if held]

    @property
    def score(self) -> float:
        """What is published."""
        return float(self.game.values[frozenset(self.game.players)][0])

    @property
    def base(self) -> float:
        """What is said without any content."""
        return float(self.game.base[0])

    def contributions(self) -> dict[Modality, float]:
        """The Shapley value of each modality that is there."""
        found = self.game.contributions()
        return {modality: float(found[modality][0]) for modality in self.players}

    def values(self) -> dict[str, float]:
        """The score from every subset of what is there, by name, such as text+image."""
        inside = [chosen for chosen in self.game.values if chosen <= set(self.players)]
        return {self._name(chosen): float(self.game.values[chosen][0]) for chosen in sorted(inside, key=len)}

    def _name(self, chosen: Subset) -> str:
        return "+".join(modality for modality in self.players if modality in chosen) or NOTHING

    def as_json(self) -> Json:
        """The document of `medley explain --json`."""
        asked: Json = {"items": self.question.items()}
        if self.question.user is not None:
            asked |= {"user": self.question.user, "chosen": self.chosen}
        numbers: Json = {"score": self.score, "base": self.base, "contributions": self.contributions()}
        return {"index": self.index, **asked, **numbers, "missing": dict(self.missing), "values": self.values()}

    def as_text(self) -> str:
        """The same for people: a line per modality, with its share of all contributions as a bar."""
        named = [f"{i} ({t})" if t else i for i, t in zip(self.question.items(), self.titles, strict=True)]
        about = named if self.question.user is None else [f"user {self.question.user}", *named]
        lines = [f"{' and '.join(about)}: {'cosine' if self.model is None else 'score'} {self.score:.4f}"]
        if self.chosen:
            lines.append("  chosen by this user already, so lookup leaves it out")
        contributions = self.contributions()
        total = sum(map(abs, contributions.values()))
        lines += [_line(name, value, abs(value) / total if total else 0) for name, value in contributions.items()]
        lines.append(f"  {'base':<6} {self.base:+9.4f}  {self._base_is()}")
        return "\n".join([*lines, *(f"  no {name}: {reason}" for name, reason in self.missing.items())])

    def _base_is(self) -> str:
        if self.model in ("two_tower", "sequence", "llm"):
            return "what is said without any content, by the item's id and popularity or by its being new"
        return "nothing is said without any content"


def _line(name: str, value: float, share: float) -> str:
    bar = ("█" if value >= 0 else "░") * max(round(BAR_LETTERS * share), value != 0)
    return f"  {name:<6} {value:+9.4f}  {bar:<{BAR_LETTERS}} {share:4.0%}"


def explain(workspace: Path, question: Question) -> Explanation:
    """Explains a score of the published index.

    Raises ConfigError if the question is wrong, or the user or an item is not in the index; WorkspaceError if nothing
    is published or what it was made from is gone; StepFailed if the model looks at no content.
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
    game = (
        _of_items(explainer, sources, asked, rows) if user is None else _of_user(explainer, sources, user, asked, rows)
    )
    return Explanation(
        index=str(published["digest"]),
        question=question,
        titles=titles,
        chosen=None if user is None else question.item in user["seen"][0].as_py(),
        model=None if user is None else sources.model,
        game=game,
        missing=_missing(explainer, codes),
    )


def _of_user(explainer: Explainer, sources: Sources, user: pa.Table, asked: list[str], rows: Codes) -> Game:
    vector = matrix(user["vector"])
    item = _vector(sources.trained / "published" / "item_vectors.parquet", asked[0])
    return explainer.of_users(vector, rows, np.array([float(vector[0] @ item)]))


def _of_items(explainer: Explainer, sources: Sources, asked: list[str], rows: Codes) -> Game:
    first, second = (np.nan_to_num(_vector(sources.fused / "items", item)) for item in asked)
    return explainer.of_items(rows, float(first @ second))


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
    try:
        return ds.dataset(path, format="parquet").to_table(columns=columns, filter=ds.field(key) == value)
    except (pa.ArrowException, OSError) as error:
        raise ShardCorrupt(f"{path}: cannot be read ({' '.join(str(error).split())}); run the night again") from None
