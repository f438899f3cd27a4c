"""A tower a modality, then fully connected layers over all of them; see `networks.Dnn`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.config.fuse import Fuse, NetworkFuse
from pipeline.fusion.learned import LearnedFusion


class DnnSettings(NetworkFuse):
    """A multi-input network."""

    kind: Literal["dnn"] = "dnn"


class DnnFusion(LearnedFusion):
    """See `networks.Dnn`."""

    Settings: ClassVar[type[Fuse]] = DnnSettings
    meaning: ClassVar[str] = "A network reads all modalities at once; the shares are exact Shapley values."
    settings: DnnSettings
    network_class: ClassVar[str] = "Dnn"
    explained_by_weights: ClassVar[bool] = False
