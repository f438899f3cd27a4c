"""What a recommender is: anything that ends as item vectors and user vectors whose inner product is the score.

A `Model` that has no vectors can be measured, but not published. What a kind says of itself is read wherever a
configuration is: nothing here, nor at the top of a module of `models/`, imports what computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipeline.artefacts.tries import Try
from pipeline.config.train import TrainSettings
from pipeline.config.training import DEFAULT_METRIC
from pipeline.evaluation.metrics import Scorer, inner_product
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.training.context import Epoch, OnEpoch, Scratch
from pipeline.training.distributed import ALONE, Processes

if TYPE_CHECKING:
    from pipeline.fusion.user_pooling import Pooling
    from pipeline.recommend.sides import FoldSide, ItemSide, UserSide
    from pipeline.recommend.user_networks import UserNetwork
    from pipeline.recommend.user_sides import AdditiveUsers
    from pipeline.recommend.warm_start import Before

# A range or a list of choices for some settings, as `tune.space` writes them.
Space = Mapping[str, Mapping[str, Any] | list[Any]]


def _plain_pooling() -> Pooling:
    from pipeline.fusion.user_pooling import Pooling

    return Pooling()


@dataclass(frozen=True)
class Content:
    """What a recommender may see of the items.

    vectors: (n_items, width) float32 fused vectors of unit norm, a zero row where the item has none.
    present: (n_items,) bool, whether it has one.
    pooling: how fused vectors of a history become a user's, as the fused folder has them.
    modalities: each modality's own vectors, (n_items, d) float32, and (n_items,) bool, whether an item has it. Where
    it is empty, the fused vectors are all there is.
    titles: each item's, for a model that reads text; empty for every other.
    memo: what is made of the items once, however many models and fits read it, see `content_features.neighbours_of`.
    """

    vectors: Floats
    present: Mask
    pooling: Pooling = field(default_factory=_plain_pooling)
    modalities: dict[str, tuple[Floats, Mask]] = field(default_factory=dict)
    titles: Sequence[str] = ()
    memo: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Fit:
    """How a fit went.

    chosen_epochs: passes over the log that made the vectors; 0 where nothing is learned in passes.
    curve: one entry an epoch: `epoch`, `loss`, and the model's `metric` where there was a validation part.
    settings: what else was chosen on validation. members: the fits of the models that this one is made of. tries: what
    a choice among models was made from, and what came of it, see `artefacts.tries`.
    """

    chosen_epochs: int = 0
    curve: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    settings: Mapping[str, float] = field(default_factory=dict)
    members: Mapping[str, Fit] = field(default_factory=dict)
    tries: Mapping[str, Try] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """What a night knows of how long fits take. seconds: of an earlier night's fits, as long as they would be tonight;
    interactions: of the training part.
    """

    interactions: int
    items: int
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FitInput:
    """What a model is fitted on, see `Model.fit`. validation: None where nothing is chosen on it."""

    content: Content
    train: Interactions
    validation: Interactions | None = None
    epochs: int | None = None
    on_epoch: OnEpoch | None = None


class Model(ABC):
    """Scores every item for every user. A kind says of itself:

    Settings: its own, read from `train`, from a blend's `members` and from `evaluate.baselines`.
    title: as reports call it. purpose: what it is for, in a few words.
    vectors: whether a score is the product of two vectors, so that it can be published.
    inductive: whether an item nobody has chosen yet can be scored, from its content.
    reads: what of the items it looks at: `fused`, `modalities`, `titles`; of nothing else may it depend.
    seeded: whether it draws at random. validated: whether validation chooses anything of it.
    shared: whether several processes can fit it together.
    remade: whether its items are a function of content once it is fitted, which `item_side` gives.
    not_remade: why not, after its name. ids: whether an item has a part of its own, which no content gives.
    version: raised where the same settings come to give another model.
    search_space: what `medley tune` tries, by setting; none: its learning rate, if it has one.
    settles: whether a next night may take what validation chose, see `evaluate.settled_nights`.
    cost: seconds that a fit takes on two cores, its search on validation included, for a million interactions and for
    a million items: a guess, from nights of 600 to 10⁶ items, that serves until a night has fitted one.

    A model has besides, name: as in the configuration and in metrics.json; metric: what validation chooses by; settled:
    settings that validation chose on an earlier night, which are taken as they are, if there are any; check: called
    now and then in a fit, to raise where it takes too long; note: what a reader of its figures has to know, such as
    that it looked at a part of the items.
    """

    Settings: ClassVar[type[TrainSettings]] = TrainSettings
    title: ClassVar[str] = ""
    purpose: ClassVar[str] = ""
    vectors: ClassVar[bool] = True
    inductive: ClassVar[bool] = False
    reads: ClassVar[frozenset[str]] = frozenset()
    seeded: ClassVar[bool] = True
    validated: ClassVar[bool] = True
    shared: ClassVar[bool] = False
    remade: ClassVar[bool] = False
    not_remade: ClassVar[str] = "knows ids alone"
    ids: ClassVar[bool] = True
    version: ClassVar[int] = 1
    search_space: ClassVar[Space] = {}
    settles: ClassVar[bool] = False
    cost: ClassVar[tuple[float, float]] = (0.0, 0.0)

    name: str = ""
    metric: str = DEFAULT_METRIC
    settled: Mapping[str, float] = MappingProxyType({})
    note: str = ""
    settings: TrainSettings

    def __init__(self, settings: TrainSettings, seed: int = 0, threads: int = 1) -> None:
        self.settings, self.seed, self.threads = settings, seed, threads
        self.check: Callable[[], None] = lambda: None

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Learns from the training interactions; afterwards `scorer` can be asked for.

        validation: choose settings, or the number of epochs, by `metric` on these, given the training ones as history.
        epochs: run exactly so many, for the fit that is published; goes before `validation`.
        on_epoch: called after every epoch with its entry of the curve, for a progress display.
        """
        validation = validation if validation is not None and len(validation) else None
        return self.learn(FitInput(content, train, validation, epochs, on_epoch))

    @abstractmethod
    def learn(self, data: FitInput) -> Fit:
        """What `fit` does, which each kind does its own way."""

    def refit(self, content: Content, train: Interactions, chosen: Fit, on_epoch: OnEpoch | None = None) -> Fit:
        """Fits a new model of the same kind with what an earlier fit chose on validation."""
        return self.fit(content, train, epochs=chosen.chosen_epochs, on_epoch=on_epoch)

    def restore(self, content: Content, train: Interactions, chosen: Fit, folder: Path) -> None:
        """Becomes the model that an earlier fit left, so that users can be made of any history.

        content and train: what it was fitted on. chosen: what was chosen then. folder: where `save` wrote; a model
        without weights of its own is fitted again, which gives the same for the same seed and number of threads.
        Raises ShardCorrupt if the folder is not such a model's.
        """
        self.refit(content, train, chosen)

    @classmethod
    def restore_reads(cls) -> frozenset[str]:
        """What of the items `restore` looks at: what a fit reads, unless all that came of that was saved."""
        return cls.reads

    @abstractmethod
    def scorer(self, history: Interactions) -> Scorer:
        """Scores made from the given history, which may be longer than what was learned from."""

    @classmethod
    def parts(cls, settings: TrainSettings) -> tuple[TrainSettings, ...]:
        """The settings of the models that it is made of; its own where it is one model."""
        return (settings,)

    @classmethod
    def planned(cls, settings: TrainSettings, room: Room, settled: Mapping[str, float]) -> TrainSettings:
        """The settings that a night fits: of a model that chooses among others, with those that it has time for.

        settled: what an earlier night chose, if that is taken.
        """
        return settings

    @classmethod
    def reads_earlier(cls, settings: TrainSettings, settled: Collection[str]) -> bool:
        """Whether it reads what the published night fitted. settled: the models whose settings are that night's."""
        return settings.warm_start

    @classmethod
    def weights_digest(cls, settings: TrainSettings) -> str:
        """A digest of the weights that it begins at; empty where it has none. Raises WeightsError."""
        return ""

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """What a saved model's items would be with other content; None where they are not made of it.

        folder: where `save_model` wrote. Raises ShardCorrupt if it is not such a model's.
        """
        return None

    @classmethod
    def user_side(cls, folder: Path) -> UserSide | None:
        """Which past choices a saved model's users are sums of; None where they are no sums. As above."""
        from pipeline.recommend.user_sides import FILE, SummedUser

        return SummedUser(folder, cls.title) if (folder / FILE).exists() else None

    @classmethod
    def fold_side(cls, folder: Path) -> FoldSide | None:
        """What makes a user of any history without the model; None where it takes the model. As above."""
        from pipeline.recommend.user_sides import saved_fold

        return cls.user_side(folder) or saved_fold(folder, cls.title)


class Recommender(Model):
    """A model whose score of a user and an item is the inner product of their vectors, so that it can be indexed.

    item_vectors: (n_items, d) float32 once it is fitted, a row for every item, also for those never chosen.
    sums: what a user's vector is a sum over past choices of: each item once, however often it was chosen (`items`), or
    by its weights (`weights`); empty where it is no such sum, or `additive_users` says more of it.
    scratch: where a fit that is killed leaves what the next one goes on from; models that fit in seconds ignore it.
    before: the fit of an earlier night that this one may read; models that learn nothing from it ignore it.
    processes: the processes that fit it together, all of them in the same way; models that are not shared ignore it.
    members: the models that this one is made of, by name, if it is made of others.
    """

    item_vectors: Floats
    sums: ClassVar[str] = ""
    members: Mapping[str, Recommender] = MappingProxyType({})
    scratch: Scratch | None = None
    before: Before | None = None
    processes: Processes = ALONE

    @abstractmethod
    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, d) float32 made from the given history, which may be longer than what was learned from.

        A user without history gets the model's answer to knowing nothing: a zero row, or what suits everyone.
        """

    def scorer(self, history: Interactions) -> Scorer:
        """See Model."""
        return inner_product(self.user_vectors(history), self.item_vectors)

    def save(self, folder: Path) -> None:
        """Writes `model.safetensors` into the folder where the model has weights of its own; nothing is pickled."""
        return

    def additive_users(self) -> AdditiveUsers | None:
        """A user's vector as a sum over past choices; None where it is no sum."""
        from pipeline.recommend.user_sides import additive_alone

        return additive_alone(self, np.inf if self.sums == "weights" else None) if self.sums else None

    def user_network(self) -> UserNetwork | None:
        """What reads a history, to be run without the model; None where a user is a sum, or only the model can."""
        return None
