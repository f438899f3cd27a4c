"""A tower a modality, then fully connected layers over all of them; see `networks.Dnn`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.config.fuse import Fuse, NetworkFuse
from pipeline.fusion.learned import LearnedFusion

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.fusion.networks import Network


class DnnSettings(NetworkFuse):
    """A multi-input network."""

    kind: Literal["dnn"] = "dnn"


class DnnFusion(LearnedFusion):
    """See `networks.Dnn`."""

    Settings: ClassVar[type[Fuse]] = DnnSettings
    meaning: ClassVar[str] = "A network reads all modalities at once; the shares are exact Shapley values."
    settings: DnnSettings
    explained_by_weights: ClassVar[bool] = False

    def build(self, weights: Tensor) -> Network:
        """See LearnedFusion."""
        from pipeline.fusion.networks import Dnn

        return Dnn(weights, self.frontend.width, self.settings.hidden, self.settings.dropout)
