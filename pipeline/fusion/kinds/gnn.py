"""Graph convolutions over an item's modalities, its nearest items in each, and items chosen with it; see `convolve`.

Only catalogue items are in the graph; any other is fused without neighbours.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from pipeline.config.fuse import Fuse, NetworkFuse
from pipeline.fusion.base import Curve, Frontend
from pipeline.fusion.learned import LearnedFusion, Step
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import InFile, InMemory, Mask, Projected
from pipeline.interactions import Int64s

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.fusion.convolve import Gnn
    from pipeline.fusion.fit import Catalogue
    from pipeline.fusion.graph import Graph

STATE_ROWS = 1024


class GnnSettings(NetworkFuse):
    """Convolutions on a graph whose edges join an item's modalities, like items, and items chosen together."""

    kind: Literal["gnn"] = "gnn"
    layers: int = Field(1, ge=1, le=3, description="graph convolutions, one after the other")
    neighbours: int = Field(10, ge=1, description="nearest items in each modality")
    co_chosen: int = Field(10, ge=1, description="items most often chosen together in training")
    edge_dropout: float = Field(0.8, ge=0, lt=1, description="chance to lose an edge, or all of an item's, in training")


class GnnFusion(LearnedFusion):
    """A network that reads an item's neighbours too."""

    Settings: ClassVar[type[Fuse]] = GnnSettings
    meaning: ClassVar[str] = (
        "Modalities are nodes in a graph of like and co-chosen items; the shares are exact Shapley values."
    )
    settings: GnnSettings
    explained_by_weights: ClassVar[bool] = False

    def __init__(self, frontend: Frontend, settings: GnnSettings) -> None:
        super().__init__(frontend, settings)
        self.graph: Graph | None = None
        self._states: list[InFile] = []

    def build(self, weights: Tensor) -> Gnn:
        """See LearnedFusion."""
        from pipeline.fusion.convolve import Gnn

        settings = self.settings
        return Gnn(weights, self.frontend.width, settings.hidden, settings.dropout, settings.layers)

    def learn(self, catalogue: Catalogue) -> Curve:
        """See LearnedFusion."""
        from pipeline.fusion import graph
        from pipeline.fusion.learn import held_out

        settings, projected, material = self.settings, catalogue.stored(), catalogue.material
        window = settings.learn.window_choices
        whole = graph.build(projected, material.train, settings.neighbours, settings.co_chosen, window)
        # What training stops by must stand in the graph as a new item does: nobody chose it.
        self.graph = whole.without(held_out(len(projected), settings.learn.held_out_share, material.context.seed))
        curve = super().learn(catalogue)
        self.graph = whole
        return curve

    def save_catalogue(self, folder: Path) -> None:
        """Writes the graph; see Fusion."""
        from pipeline.fusion import graph

        if self.graph is not None:
            graph.save(self.graph, folder / graph.FILE)

    def load_catalogue(self, folder: Path) -> None:
        """Reads the graph; see Fusion."""
        from pipeline.fusion import graph

        self.graph = graph.load(folder / graph.FILE)

    def batch(
        self, projected: Projected, codes: Int64s, keep: Mask | None = None, step: Step | None = None
    ) -> tuple[Tensor, Tensor]:
        """See LearnedFusion; neighbours keep all that they have."""
        if self.graph is None or isinstance(projected, InMemory) or (step and step.partners is None):
            return super().batch(projected, codes, keep)
        if self._states:
            return self._by_states(projected, codes, keep)
        import torch

        from pipeline.fusion.convolve import edges_of, plan

        edit = partial(self._thin, step) if step else None
        read, layers = plan(self.graph, codes, self.settings.layers, edit)
        rows, mask = projected.read(read)
        if keep is not None:
            mask[: len(codes)] &= keep
        # A layer reads what the one before has computed, the first all that was read.
        read_by = [len(read), *(targets for targets, _ in layers)]
        edges = [edges_of(t, lists, mask[:rows]) for rows, (t, lists) in zip(read_by, layers, strict=False)]
        return self.network(torch.from_numpy(rows), torch.from_numpy(mask), edges)

    def catalogue(self, projected: Projected, codes: Int64s) -> tuple[Vectors, Vectors]:
        """See Fusion. Neighbours' states are computed once, not anew for every item that reads them."""
        import torch

        if isinstance(projected, InFile) and not self._states:
            with torch.no_grad():
                self._states = self._spread(projected)
        return super().catalogue(projected, codes)

    def _spread(self, projected: InFile) -> list[InFile]:
        """For every layer, its inputs of all items."""
        import torch

        network = cast("Gnn", self.network)
        states: list[InFile] = []
        for number in range(self.settings.layers):
            state = projected.beside(f"layer-{number}.npy")
            for start in range(0, len(projected), STATE_ROWS):
                codes = np.arange(start, min(start + STATE_ROWS, len(projected)))
                rows, mask = projected.read(codes)
                nodes = self._convolved(states, codes, mask, network.nodes(torch.from_numpy(rows)))
                state.write(start, nodes.reshape(rows.shape).numpy(), mask)
            states.append(state)
        return states

    def _by_states(self, projected: Projected, codes: Int64s, keep: Mask | None) -> tuple[Tensor, Tensor]:
        import torch

        network, pairs = cast("Gnn", self.network), []
        for start in range(0, len(codes), STATE_ROWS):
            chunk = slice(start, start + STATE_ROWS)
            rows, mask = projected.read(codes[chunk])
            mask = mask if keep is None else mask & keep[chunk]
            nodes = self._convolved(self._states, codes[chunk], mask, network.nodes(torch.from_numpy(rows)))
            pairs.append(network.pooled(nodes, torch.from_numpy(mask)))
        return torch.cat([vectors for vectors, _ in pairs]), torch.cat([weights for _, weights in pairs])

    def _convolved(self, states: list[InFile], codes: Int64s, mask: Mask, nodes: Tensor) -> Tensor:
        """The items' nodes [n · m x w] after as many layers as there are states of their neighbours."""
        import torch

        from pipeline.fusion.convolve import edges_of, placed_among

        if not states or self.graph is None:
            return nodes
        lists = self.graph.rows(codes)
        others = lists.around(np.zeros(0, np.int64))
        seen = np.concatenate([mask, states[0].mask[others]])
        layer = edges_of(len(codes), placed_among(lists, others, len(codes)), seen)
        for convolution, state in zip(cast("Gnn", self.network).layers, states, strict=False):
            neighbours = torch.from_numpy(state.read(others)[0]).flatten(0, 1)
            nodes = convolution(torch.cat([nodes, neighbours]), layer, mask.shape[1])
        return nodes

    def _thin(self, step: Step, lists: Graph) -> Graph:
        partners = np.zeros(0, np.int64) if step.partners is None else step.partners
        return lists.thinned(self.settings.edge_dropout, partners, step.rng)
