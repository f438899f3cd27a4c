"""What a recommender says of itself, which is read without importing what it computes with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.config.train import TrainSettings

if TYPE_CHECKING:
    from pipeline.recommend.base import ItemSide, Model, UserSide

# A range or a list of choices for some settings, as `tune.space` writes them.
Space = Mapping[str, Mapping[str, Any] | list[Any]]


class Kind:
    """A kind of recommender: the class that fits it, or one beside it that names that class as `implementation`.

    Settings: its own, read from `train`, from a blend's `members` and from `evaluate.baselines`.
    title: as reports call it. purpose: what it is for, in a few words.
    implementation: "module:Class" of the `Model`, imported to make one; empty where the class itself is that.
    vectors: whether a score is the product of two vectors, so that it can be published.
    inductive: whether an item nobody has chosen yet can be scored, from its content.
    reads: what of the items it looks at: `fused`, `modalities`, `titles`; of nothing else may it depend.
    seeded: whether it draws at random. validated: whether validation chooses anything of it.
    shared: whether several processes can fit it together.
    remade: whether its items are a function of content once it is fitted, which `item_side` gives.
    not_remade: why not, after its name. ids: whether an item has a part of its own, which no content gives.
    version: raised where the same settings come to give another model.
    search_space: what `medley tune` tries, by setting; none: its learning rate, if it has one.
    """

    Settings: ClassVar[type[TrainSettings]] = TrainSettings
    title: ClassVar[str] = ""
    purpose: ClassVar[str] = ""
    implementation: ClassVar[str] = ""
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

    @classmethod
    def make(cls, settings: TrainSettings, seed: int, threads: int) -> Model:
        """A model that is not fitted yet."""
        module, _, name = cls.implementation.partition(":")
        model: Any = getattr(import_module(module), name) if module else cls
        made: Model = model(settings, seed, threads)
        return made

    @classmethod
    def parts(cls, settings: TrainSettings) -> tuple[TrainSettings, ...]:
        """The settings of the models that it is made of; its own where it is one model."""
        return (settings,)

    @classmethod
    def reads_earlier(cls, settings: TrainSettings) -> bool:
        """Whether it learns from the night that is published, beside beginning at its weights."""
        return False

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
