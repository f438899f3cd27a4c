"""What the learned kinds have in common: a network over projected modalities, trained by `pipeline.fusion.learn`.

torch is imported where it is used, so that reading a configuration does not import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.config.fuse import LearnedFuse, NetworkFuse
from pipeline.fusion.base import Curve, Frontend, Fusion, Tensors, given_weights
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import InMemory, Mask, Projected
from pipeline.fusion.shapley import shares_of_itself
from pipeline.interactions import Int64s

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.fusion.fit import Catalogue
    from pipeline.fusion.networks import Network

ROWS = 4096


@dataclass(frozen=True)
class Step:
    """One step of training. partners: each item's target, to which no edge may lead; None to use no graph."""

    rng: np.random.Generator
    partners: Int64s | None = None


class LearnedFusion(Fusion):
    """The weighted sum with learned weights, and the base of the kinds that learn more.

    network_class: of `pipeline.fusion.networks`. explained_by_weights: whether the network's weights are each item's
    shares; else they are Shapley values.
    """

    settings: LearnedFuse
    network_class: ClassVar[str] = "Network"
    explained_by_weights: ClassVar[bool] = True

    def __init__(self, frontend: Frontend, settings: LearnedFuse) -> None:
        super().__init__(frontend, settings)
        self.network = self._built()

    def build(self, weights: Tensor) -> Network:
        """The kind's network; weights (m,) is what its sum begins with."""
        from pipeline.fusion import networks

        network = getattr(networks, self.network_class)
        if isinstance(self.settings, NetworkFuse):
            return network(weights, self.frontend.width, self.settings.hidden, self.settings.dropout)
        return network(weights)

    def fit(self, catalogue: Catalogue) -> Curve:
        """See Fusion; the same bytes for the same seed, threads and input."""
        import torch

        from pipeline.training.torch_runtime import reproducible

        context = catalogue.material.context
        with reproducible(context.threads):
            catalogue.stored()
            torch.manual_seed(context.seed)
            self.network = self._built()
            return self.learn(catalogue)

    def learn(self, catalogue: Catalogue) -> Curve:
        """Trains the network."""
        from pipeline.fusion.learn import train

        return train(self, catalogue)

    def batch(
        self, projected: Projected, codes: Int64s, keep: Mask | None = None, step: Step | None = None
    ) -> tuple[Tensor, Tensor]:
        """Vectors (n, w) and weights (n, m) of some items, with gradients.

        keep: (n, m) bool, the modalities to look at; all by default. step: in training, what must not be looked at.
        """
        import torch

        rows, mask = projected.read(codes)
        present = mask if keep is None else mask & keep
        return self.network(torch.from_numpy(rows), torch.from_numpy(present))

    def vectors(self, projected: Projected, codes: Int64s, keep: Mask | None = None) -> tuple[Vectors, Vectors]:
        """As `batch`, as arrays in batches of ROWS; NaN where an item has nothing to look at."""
        vectors = np.zeros((len(codes), self.frontend.width), np.float32)
        weights = np.zeros((len(codes), len(self.frontend.modalities)), np.float32)
        for start in range(0, len(codes), ROWS):
            rows = slice(start, start + ROWS)
            vectors[rows], weights[rows] = self._arrays(projected, codes[rows], None if keep is None else keep[rows])
        return vectors, weights

    def combine(self, projected: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """See `Fusion.combine`."""
        return self.catalogue(InMemory(projected, mask), np.arange(len(projected)))

    def catalogue(self, projected: Projected, codes: Int64s) -> tuple[Vectors, Vectors]:
        """Vectors and shares of some items of a catalogue, as `combine`."""
        vectors, weights = self.vectors(projected, codes)
        if self.explained_by_weights:
            return vectors, weights
        _, mask = projected.read(codes)
        return vectors, shares_of_itself(lambda keep: self.vectors(projected, codes, keep)[0], vectors, mask)

    def tensors(self) -> Tensors:
        """The network's parameters."""
        return {f"network.{name}": value.detach().numpy() for name, value in self.network.state_dict().items()}

    def restore(self, tensors: Tensors) -> None:
        """See Fusion."""
        import torch

        prefix = "network."
        state = {n.removeprefix(prefix): torch.from_numpy(v) for n, v in tensors.items() if n.startswith(prefix)}
        self.network.load_state_dict(state)

    def _built(self) -> Network:
        import torch

        return self.build(torch.from_numpy(given_weights(self.frontend, self.settings))).eval()

    def _arrays(self, projected: Projected, codes: Int64s, keep: Mask | None) -> tuple[Vectors, Vectors]:
        import torch

        with torch.no_grad():
            vectors, weights = self.batch(projected, codes, keep)
        arrays, shares = vectors.numpy().copy(), weights.numpy()
        arrays[shares.sum(axis=1) == 0] = np.nan
        return arrays, shares
