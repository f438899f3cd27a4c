"""blend: several models' vectors beside each other, so that one inner product is a weighted sum of their scores.

    s(u, i) = sum over members m of w_m (u_m · i_m) / σ_m,    w ≥ 0 and sums to 1
    σ_m     = mean over users of the standard deviation over chosen items of u_m · i_m  =  mean of √(uᵀ C u)

C is the covariance of the member's vectors of items that were chosen in training, and the users are those of the
training history, so that σ needs no table of scores. Each member is fitted as it would be alone. The weights are those
of the best `metric` on the validation part; a member whose weight is 0 is left out of what is published.

Where a member leaves an item's vector at zero, it has no say: the item gets the mean of the member's other vectors,
that is, of every user the mean score. Left at zero it would stand above or below the others by whatever the scores of
that member are centred on. From that mean an item that nobody has chosen yet, where the member knows ids alone, is
moved towards those of its nearest by content that the member can score, as far as such neighbours tell of items that
were chosen.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from pipeline.config.base import Schema
from pipeline.config.kinds import Lazy
from pipeline.config.train import Members, TrainSettings
from pipeline.evaluation.metrics import inner_product
from pipeline.evaluation.ranking import InnerProduct
from pipeline.interactions import Floats, Int64s, Interactions, Mask
from pipeline.recommend import kind_of, recommender
from pipeline.recommend.base import Content, Fit, FitInput, OnEpoch, Recommender
from pipeline.recommend.content_features import degrees, neighbours_of
from pipeline.recommend.item_sides import BLEND_FILE, BlendItems, SavedRows
from pipeline.recommend.portfolio import Judge, climbed, whole
from pipeline.recommend.sides import FoldSide, ItemSide, UserSide
from pipeline.recommend.user_sides import BlendedUser, save_model

if TYPE_CHECKING:
    import scipy.sparse as sp
else:
    sp = Lazy("scipy.sparse")

STEPS = (1 / 4, 1 / 8, 1 / 16)
NEIGHBOURS = 5


class BlendSettings(TrainSettings):
    """The members, and how they are weighed."""

    moved: ClassVar[dict[str, str]] = {
        **TrainSettings.moved,
        "models": "`members: [{model: two_tower}, {model: als}]`, each with its own settings beside its model,",
        "search_users": "`evaluate: {validation_users: VALUE}`",
    }
    model: Literal["blend"] = "blend"
    members: Members = Field(
        default_factory=cast(Any, lambda: ({"model": "two_tower"}, {"model": "als"})),
        description="each is fitted as it would be alone; validation weighs them",
    )

    def meaning(self) -> Schema:
        """See TrainSettings."""
        return {**super().meaning(), "members": [settings.meaning() for settings in self.members]}


@dataclass(frozen=True)
class Side:
    """One member, fitted.

    items: (n_items, d) float32, what cannot be scored replaced by `neutral`, (d,), the mean of the others.
    deviation: σ.
    """

    model: Recommender
    items: Floats
    neutral: Floats
    deviation: float

    def scorer(self, history: Interactions) -> InnerProduct:
        """The member's scores over σ."""
        return inner_product(self.model.user_vectors(history) / self.deviation, self.items)


class BlendModel(Recommender):
    """See above; item and user vectors are the members', each times the root of its weight over its σ."""

    Settings = BlendSettings
    version = 2
    title = "blend"
    purpose = "members and weights of one's own choice"
    not_remade = "has no member with a weight that makes its items of content alone"
    settings: BlendSettings

    def __init__(self, settings: BlendSettings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)
        self.members = {member.model: recommender(member, seed, threads) for member in settings.members}
        self.weights = dict.fromkeys(self.members, 1 / len(self.members))
        self._sides: dict[str, Side] = {}

    @property
    def inductive(self) -> bool:  # type: ignore[override]
        """Whether any member is."""
        return any(model.inductive for model in self.members.values())

    def learn(self, data: FitInput) -> Fit:
        """Fits every member as it would be alone, then weighs them on `validation`; without, all weigh the same.

        epochs: of every member that learns in epochs.
        """
        started = time.perf_counter()
        fits = {name: model.learn(data) for name, model in self.members.items()}
        self._sides = {name: side_of(model, data.content, data.train) for name, model in self.members.items()}
        if data.validation is not None:
            self.weights = self._agreed(self._search(data.train, data.validation))
        return Fit(seconds=time.perf_counter() - started, settings=self.weights, members=fits)

    def refit(self, content: Content, train: Interactions, chosen: Fit, on_epoch: OnEpoch | None = None) -> Fit:
        """Fits the members that have a weight again, each with what it chose; the weights stay, σ is taken anew."""
        started = time.perf_counter()
        self.weights = {name: weight for name, weight in chosen.settings.items() if weight > 0}
        fits = {name: self.members[name].refit(content, train, chosen.members[name], on_epoch) for name in self.weights}
        self._sides = {name: side_of(self.members[name], content, train) for name in self.weights}
        return Fit(seconds=time.perf_counter() - started, settings=self.weights, members=fits)

    def restore(self, content: Content, train: Interactions, chosen: Fit, folder: Path) -> None:
        """See Recommender: the members that have a weight, each from its own folder, and what `save` wrote of them."""
        self.weights = {name: weight for name, weight in chosen.settings.items() if weight > 0}
        saved = SavedRows(folder / BLEND_FILE, self.name)
        for name, weight in self.weights.items():
            model = self.members[name]
            model.restore(content, train, chosen.members[name], folder / name)
            (factor,), neutral = saved.read((f"{name}.factor", f"{name}.neutral"))
            if model.remade:
                items = np.where(model.item_vectors.any(axis=1, keepdims=True), model.item_vectors, neutral)
            else:
                (items,) = saved.read((f"{name}.items",))
            self._sides[name] = Side(model, items, neutral, weight / float(factor) ** 2)

    @property
    def item_vectors(self) -> Floats:  # type: ignore[override]
        """(n_items, sum of the members' widths) float32."""
        return np.concatenate([side.items * factor for side, factor in self._weighed()], axis=1)

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, sum of the members' widths) float32; without history, what each member says of knowing nothing."""
        return np.concatenate([side.model.user_vectors(history) * factor for side, factor in self._weighed()], axis=1)

    def save(self, folder: Path) -> None:
        """Writes each member into a folder of its name, and `blend.safetensors`.

        The latter has, for each member that has a weight, `NAME.factor`, what its vectors are multiplied by,
        `NAME.neutral` as in `Side`, and the `NAME.items` of one whose items cannot be made again from content; its
        metadata names the members in order.
        """
        from safetensors.numpy import save_file

        tensors: dict[str, np.ndarray] = {}
        names = [name for name, weight in self.weights.items() if weight > 0]
        for name, (side, factor) in zip(names, self._weighed(), strict=True):
            (folder / name).mkdir()
            save_model(side.model, folder / name)
            tensors[f"{name}.factor"] = np.array([factor], np.float32)
            tensors[f"{name}.neutral"] = side.neutral
            if not side.model.remade:
                tensors[f"{name}.items"] = np.ascontiguousarray(side.items)
        save_file(tensors, folder / BLEND_FILE, metadata={"members": " ".join(names)})

    @classmethod
    def parts(cls, settings: TrainSettings) -> tuple[TrainSettings, ...]:
        """See Model."""
        return settings.members if isinstance(settings, BlendSettings) else ()

    @classmethod
    def reads_earlier(cls, settings: TrainSettings, settled: Collection[str]) -> bool:
        """See Model."""
        own = super().reads_earlier(settings, settled)
        return own or any(kind_of(part.model).reads_earlier(part, settled) for part in cls.parts(settings))

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Model; None for a blend of none that has one."""
        blended = BlendItems(folder)
        return blended if any(blended.sides.values()) else None

    @classmethod
    def user_side(cls, folder: Path) -> UserSide | None:
        """See Model."""
        blended = BlendedUser(folder)
        return blended if any(blended.sides.values()) else None

    @classmethod
    def fold_side(cls, folder: Path) -> FoldSide:
        """See Model."""
        return BlendedUser(folder)

    def _weighed(self) -> list[tuple[Side, np.float32]]:
        sides = [(self._sides[name], weight) for name, weight in self.weights.items() if weight > 0]
        return [(side, np.float32(np.sqrt(weight / side.deviation))) for side, weight in sides]

    def _agreed(self, weights: dict[str, float]) -> dict[str, float]:
        """The first process's weights for all: rounding must not decide whether a member is fitted again."""
        return dict(
            zip(weights, self.processes.sum([w * (self.processes.rank == 0) for w in weights.values()]), strict=True)
        )

    def _search(self, train: Interactions, validation: Interactions) -> dict[str, float]:
        """The weights of the best `metric` on validation that are found from the best single member on, or from equal
        weights, if those are better.
        """
        judge = Judge(whole(train, validation), [side.scorer(train) for side in self._sides.values()], self.metric)
        equal = tuple(1 / judge.size for _ in range(judge.size))
        best = max([*judge.alone(), equal], key=judge.objective)
        return dict(zip(self._sides, climbed(judge.objective, best, range(judge.size), STEPS), strict=True))


def side_of(model: Recommender, content: Content, train: Interactions) -> Side:
    """A fitted member as the blend needs it. content and train: what it was fitted on."""
    items, chosen = model.item_vectors, train.item_counts() > 0
    scored = items.any(axis=1) & (chosen | model.inductive)
    neutral = items[scored].mean(axis=0) if scored.any() else np.zeros(items.shape[1], np.float32)
    users = model.user_vectors(train)[np.unique(train.user)]
    deviation = _deviation(users, items[chosen & scored])
    items = np.where(scored[:, None], items, neutral)
    if not model.inductive:
        new, vectors = _alike(content, items, neutral, scored)
        items[new] = vectors
    return Side(model, items, neutral, deviation)


def _alike(content: Content, items: Floats, neutral: Floats, scored: Mask) -> tuple[Int64s, Floats]:
    """Items that cannot be scored and have neighbours that can: (n,) codes, and what these tell, (n, d) float32.

    That is λ of the way from `neutral` to the neighbours' mean m, λ the least squares slope by which items that can be
    scored follow from theirs: Σ (v - neutral)·(m - neutral) / Σ |m - neutral|², within 0 and 1.
    """
    near = sum(
        sp.csr_matrix((np.maximum(cosines, 0), graph.indices, graph.indptr), graph.shape)
        for graph, cosines, _ in neighbours_of(content, NEIGHBOURS).values()
    )[:, scored]
    weight = degrees(near, 1)
    some = np.flatnonzero(weight > 0)
    means = np.asarray(near[some] @ items[scored], np.float32) / weight[some, None] - neutral
    known = scored[some]
    away = float(np.square(means[known]).sum())
    slope = float((means[known] * (items[some[known]] - neutral)).sum()) / away if away else 0.0
    return some[~known], neutral + np.float32(min(max(slope, 0), 1)) * means[~known]


def _deviation(users: Floats, items: Floats) -> float:
    """σ, see above; 1 where the member scores all items alike."""
    if len(items) < 2:
        return 1.0
    covariance = np.atleast_2d(np.cov(items, rowvar=False, dtype=np.float64))
    variance = np.einsum("ud,ud->u", users @ covariance, users)
    return float(np.sqrt(np.maximum(variance, 0)).mean()) or 1.0
