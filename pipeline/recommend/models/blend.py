"""blend: several models beside each other, whose scores are added by weights that validation chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from pipeline.config.base import Schema
from pipeline.config.train import Members, TrainSettings
from pipeline.recommend.kind import Kind

if TYPE_CHECKING:
    from pipeline.recommend.base import ItemSide, UserSide


class BlendSettings(TrainSettings):
    """See `pipeline.recommend.blend`."""

    moved: ClassVar[dict[str, str]] = {
        **TrainSettings.moved,
        "models": "`members: [{model: two_tower}, {model: als}]`, each with its own settings beside its model,",
    }
    model: Literal["blend"] = "blend"
    members: Members = Field(
        default_factory=cast(Any, lambda: ({"model": "two_tower"}, {"model": "als"})),
        description="each is fitted as it would be alone; validation weighs them",
    )
    search_users: int = Field(10_000, ge=1, description="users of the validation part that weights are tried on")

    def meaning(self) -> Schema:
        """See TrainSettings."""
        return {**super().meaning(), "members": [settings.meaning() for settings in self.members]}


class BlendKind(Kind):
    """One inner product that is a weighted sum of several models' scores."""

    Settings = BlendSettings
    title = "blend"
    purpose = "the best lists there are, at the price of fitting every member"
    implementation = "pipeline.recommend.blend:BlendModel"
    not_remade = "has no member with a weight that makes its items of content alone"

    @classmethod
    def parts(cls, settings: TrainSettings) -> tuple[TrainSettings, ...]:
        """See Kind."""
        return settings.members if isinstance(settings, BlendSettings) else ()

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Kind; None for a blend of none that has one."""
        from pipeline.recommend.item_sides import BlendItems

        blended = BlendItems(folder)
        return blended if any(blended.sides.values()) else None

    @classmethod
    def user_side(cls, folder: Path) -> UserSide | None:
        """See Kind."""
        from pipeline.recommend.user_sides import BlendedUser

        blended = BlendedUser(folder)
        return blended if any(blended.sides.values()) else None
