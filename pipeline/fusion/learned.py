"""The learned kinds as fusions: a network on top of the frontend, and for the gnn the graph of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch

from pipeline.config import Fuse
from pipeline.fusion import graph as graphs
from pipeline.fusion import networks
from pipeline.fusion.base import Codes, Frontend, Fusion, Loose, Mask, Sides, Tensors
from pipeline.fusion.graph import Graph
from pipeline.fusion.linear import given_weights
from pipeline.fusion.moments import Vectors
from pipeline.fusion.shapley import shares_of_itself
from pipeline.fusion.store import SideStore

ROWS, STATE_ROWS = 4096, 1024


@dataclass(frozen=True)
class Step:
    """One step of training. partners: whom each item is to find, so that no edge may tell; None to use no graph."""

    rng: np.random.Generator
    partners: Codes | None = None


class LearnedFusion(Fusion):
    """A network that `learn.train` fits; its weights are each item's shares where they tell all, else Shapley's."""

    kind: ClassVar[str] = ""
    explained_by_weights: ClassVar[bool] = True
    settings: Fuse

    def __init__(self, frontend: Frontend, settings: Fuse) -> None:
        super().__init__(frontend)
        self.settings = settings
        self.network = self.build(torch.from_numpy(given_weights(frontend, settings)))
        self.network.eval()

    def build(self, weights: torch.Tensor) -> networks.Network:
        """The kind's network; weights (m,) is what its sum begins with."""
        return networks.Network(weights)

    def batch(
        self, sides: Sides, codes: Codes, keep: Mask | None = None, step: Step | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, w) and weights (n, m) of some items, with gradients.

        keep: (n, m) bool, the modalities to look at; all by default. step: in training, what must not be looked at.
        """
        found, mask = sides.read(codes)
        kept = mask if keep is None else mask & keep
        pair: tuple[torch.Tensor, torch.Tensor] = self.network(torch.from_numpy(found), torch.from_numpy(kept))
        return pair

    @torch.no_grad()
    def vectors(self, sides: Sides, codes: Codes, keep: Mask | None = None) -> tuple[Vectors, Vectors]:
        """As `batch`, as arrays in batches of ROWS; NaN where an item has nothing to look at."""
        found = [
            self._plain(sides, codes[start : start + ROWS], None if keep is None else keep[start : start + ROWS])
            for start in range(0, len(codes), ROWS)
        ]
        if not found:
            return np.zeros((0, self.frontend.width), np.float32), np.zeros(
                (0, len(self.frontend.modalities)), np.float32
            )
        return np.concatenate([v for v, _ in found]), np.concatenate([w for _, w in found])

    def _plain(self, sides: Sides, codes: Codes, keep: Mask | None) -> tuple[Vectors, Vectors]:
        vectors, weights = self.batch(sides, codes, keep)
        plain, shares = vectors.numpy().copy(), weights.numpy()
        plain[shares.sum(axis=1) == 0] = np.nan
        return plain, shares

    def combine(self, sides: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """See `Fusion.combine`."""
        return self.catalogue(Loose(sides, mask), np.arange(len(sides)))

    def catalogue(self, sides: Sides, codes: Codes) -> tuple[Vectors, Vectors]:
        """Vectors and shares of some items of a catalogue, as `combine`."""
        vectors, weights = self.vectors(sides, codes)
        if self.explained_by_weights:
            return vectors, weights
        _, mask = sides.read(codes)
        return vectors, shares_of_itself(lambda keep: self.vectors(sides, codes, keep)[0], vectors, mask)

    def tensors(self) -> Tensors:
        """The network's parameters."""
        return {f"network.{name}": value.detach().numpy() for name, value in self.network.state_dict().items()}

    def restore(self, tensors: Tensors) -> None:
        """Takes what `tensors` gave."""
        state = {
            n.removeprefix("network."): torch.from_numpy(v) for n, v in tensors.items() if n.startswith("network.")
        }
        self.network.load_state_dict(state)


class LearnedLinear(LearnedFusion):
    """The linear fusion with learned weights."""

    kind: ClassVar[str] = "linear"


class AlignFusion(LearnedFusion):
    """See `networks.Align`."""

    kind: ClassVar[str] = "align"

    def build(self, weights: torch.Tensor) -> networks.Network:
        """The kind's network."""
        return networks.Align(weights, self.frontend.width, self.settings.learn.hidden, self.settings.learn.dropout)


class DnnFusion(LearnedFusion):
    """See `networks.Dnn`."""

    kind: ClassVar[str] = "dnn"
    explained_by_weights: ClassVar[bool] = False

    def build(self, weights: torch.Tensor) -> networks.Network:
        """The kind's network."""
        return networks.Dnn(weights, self.frontend.width, self.settings.learn.hidden, self.settings.learn.dropout)


class AttentionFusion(LearnedFusion):
    """See `networks.Attention`."""

    kind: ClassVar[str] = "attention"

    def build(self, weights: torch.Tensor) -> networks.Network:
        """The kind's network."""
        return networks.Attention(weights, self.frontend.width, self.settings.learn.hidden, self.settings.learn.dropout)


class GnnFusion(LearnedFusion):
    """See `convolve`; the graph is the catalogue's, so what is not of the catalogue is taken for itself."""

    kind: ClassVar[str] = "gnn"
    explained_by_weights: ClassVar[bool] = False
    graph: Graph | None = None

    def __init__(self, frontend: Frontend, settings: Fuse) -> None:
        super().__init__(frontend, settings)
        self._states: list[SideStore] = []

    def build(self, weights: torch.Tensor) -> networks.Network:
        """The kind's network."""
        from pipeline.fusion.convolve import Gnn

        learn, layers = self.settings.learn, self.settings.graph.layers
        return Gnn(weights, self.frontend.width, learn.hidden, learn.dropout, layers)

    def save_catalogue(self, folder: Path) -> None:
        """See Fusion; the graph lies beside the weights."""
        super().save_catalogue(folder)
        if self.graph is not None:
            graphs.save(self.graph, folder / graphs.FILE)

    def batch(
        self, sides: Sides, codes: Codes, keep: Mask | None = None, step: Step | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See LearnedFusion; neighbours keep all that they have."""
        if self.graph is None or isinstance(sides, Loose) or (step and step.partners is None):
            return super().batch(sides, codes, keep)
        if self._states:
            return self._by_states(sides, codes, keep)
        from pipeline.fusion.convolve import edges_of, plan

        edit = partial(self._thin, step) if step else None
        read, layers = plan(self.graph, codes, self.settings.graph.layers, edit)
        found, mask = sides.read(read)
        if keep is not None:
            mask[: len(codes)] &= keep
        # A layer reads what the one before has computed, the first all that was read.
        read_by = [len(read), *(targets for targets, _ in layers)]
        made = [edges_of(t, lists, mask[:rows]) for rows, (t, lists) in zip(read_by, layers, strict=False)]
        pair: tuple[torch.Tensor, torch.Tensor] = self.network(torch.from_numpy(found), torch.from_numpy(mask), made)
        return pair

    def catalogue(self, sides: Sides, codes: Codes) -> tuple[Vectors, Vectors]:
        """See Fusion. What neighbours tell is computed once, not again for everyone whose neighbours they are."""
        if isinstance(sides, SideStore) and not self._states:
            self._states = self._spread(sides)
        return super().catalogue(sides, codes)

    @torch.no_grad()
    def _spread(self, sides: SideStore) -> list[SideStore]:
        """Of every layer, what it reads of all items."""
        from pipeline.fusion.convolve import Gnn

        network = cast(Gnn, self.network)
        states: list[SideStore] = []
        for number in range(self.settings.graph.layers):
            state = sides.beside(f"layer-{number}.npy")
            for start in range(0, len(sides), STATE_ROWS):
                codes = np.arange(start, min(start + STATE_ROWS, len(sides)))
                found, mask = sides.read(codes)
                nodes = self._convolved(states, codes, mask, network.nodes(torch.from_numpy(found)))
                state.write(start, nodes.reshape(found.shape).numpy(), mask)
            states.append(state)
        return states

    def _by_states(self, sides: Sides, codes: Codes, keep: Mask | None) -> tuple[torch.Tensor, torch.Tensor]:
        from pipeline.fusion.convolve import Gnn

        network, pairs = cast(Gnn, self.network), []
        for start in range(0, len(codes), STATE_ROWS):
            rows = slice(start, start + STATE_ROWS)
            found, mask = sides.read(codes[rows])
            mask = mask if keep is None else mask & keep[rows]
            nodes = self._convolved(self._states, codes[rows], mask, network.nodes(torch.from_numpy(found)))
            pairs.append(network.pooled(nodes, torch.from_numpy(mask)))
        return torch.cat([vectors for vectors, _ in pairs]), torch.cat([weights for _, weights in pairs])

    def _convolved(self, states: list[SideStore], codes: Codes, mask: Mask, nodes: torch.Tensor) -> torch.Tensor:
        """The items' nodes [n · m x w] after as many layers as there are states of their neighbours."""
        from pipeline.fusion.convolve import Gnn, edges_of, placed_among

        if not states:
            return nodes
        lists = cast(Graph, self.graph).rows(codes)
        others = lists.around(np.zeros(0, np.int64))
        seen = np.concatenate([mask, states[0].mask[others]])
        layer = edges_of(len(codes), placed_among(lists, others, len(codes)), seen)
        for convolution, state in zip(cast(Gnn, self.network).layers, states, strict=False):
            told = torch.from_numpy(state.read(others)[0]).flatten(0, 1)
            nodes = convolution(torch.cat([nodes, told]), layer, mask.shape[1])
        return nodes

    def _thin(self, step: Step, lists: Graph) -> Graph:
        partners = np.zeros(0, np.int64) if step.partners is None else step.partners
        return lists.thinned(self.settings.graph.edge_dropout, partners, step.rng)


KINDS: dict[str, type[LearnedFusion]] = {
    kind.kind: kind for kind in (LearnedLinear, DnnFusion, AttentionFusion, GnnFusion, AlignFusion)
}
