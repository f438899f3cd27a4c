"""Graph convolutions over the items' modalities, and the part of the graph that a batch needs.

A node is an item's modality, and exists where the item has it. Three kinds of edges lead to it: from the item's other
modalities, from the same modality of its nearest items in it, and from that of items chosen together with it. Each
kind has a convolution of its own (GraphSAGE, Hamilton et al. 2017, by torch-geometric):

    h'(i, m) = unit(h(i, m) + B·gelu(Σ_kind W_kind · mean of h over that kind's neighbours + W · h(i, m)))

B begins at zero. An item's vector is the weighted sum over its nodes. Without a graph, as for a query, only an item's
own modalities are joined.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.fusion.graph import NOBODY, Graph
from pipeline.fusion.networks import Align, masked_softmax, zeroed
from pipeline.fusion.projected import Mask
from pipeline.interactions import Int32s, Int64s

with warnings.catch_warnings():
    # It calls torch.jit.script, which torch says is deprecated.
    warnings.simplefilter("ignore")
    from torch_geometric.nn import SAGEConv

Edit = Callable[[Graph], Graph]
EDGES = ("own", "like", "together")


@dataclass(frozen=True)
class Layer:
    """The edges of one layer by kind, each a sparse matrix from the nodes read to those of the first `targets` items.

    Rows sum to 1, or to 0 where a node has no such neighbour, so that a product with it is the mean over neighbours.
    """

    targets: int
    edges: dict[str, Tensor]


class Convolution(nn.Module):
    """One layer, as above; torch-geometric's SAGEConv gathers the neighbours and applies W_kind."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.Linear(width, hidden)
        self.convolutions = nn.ModuleDict(
            {kind: SAGEConv(width, hidden, aggr="sum", root_weight=False, bias=False) for kind in EDGES}
        )
        self.out = nn.Sequential(nn.GELU(), nn.Dropout(dropout), zeroed(nn.Linear(hidden, width)))

    def forward(self, nodes: Tensor, layer: Layer, modalities: int) -> Tensor:
        """nodes: [all x w]. Returns [targets · m x w]."""
        mine = nodes[: layer.targets * modalities]
        hidden = self.own(mine)
        for kind, convolution in self.convolutions.items():
            hidden = hidden + convolution((nodes, mine), layer.edges[kind])
        return functional.normalize(mine + self.out(hidden), dim=-1)


class Gnn(Align):
    """Towers, graph convolutions over the modalities of items, and the weighted sum of an item's nodes."""

    def __init__(self, weights: Tensor, width: int, hidden: int, dropout: float, layers: int) -> None:
        super().__init__(weights, width, hidden, dropout)
        self.layers = nn.ModuleList(Convolution(width, hidden, dropout) for _ in range(layers))

    def forward(self, projected: Tensor, mask: Tensor, layers: Sequence[Layer] | None = None) -> tuple[Tensor, Tensor]:
        """As Network, of the first items where layers are given; else every item on its own."""
        modalities = projected.shape[1]
        nodes = self.nodes(projected)
        # Without a graph, edges lead among each item's own modalities only.
        layers = layers or [edges_of(len(mask), None, mask.numpy())] * len(self.layers)
        for convolution, layer in zip(self.layers, layers, strict=True):
            nodes = convolution(nodes, layer, modalities)
        return self.pooled(nodes, mask[: len(nodes) // modalities])

    def nodes(self, projected: Tensor) -> Tensor:
        """What the first layer reads: projected modalities [n x m x w] through the towers, [n · m x w]."""
        return self.towers(projected).reshape(-1, projected.shape[2])

    def pooled(self, nodes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and weights as Network returns, of what the last layer made of n items, [n · m x w]."""
        weights = masked_softmax(self.logits.expand(mask.shape), mask)
        vectors = torch.einsum("nm,nmw->nw", weights, nodes.reshape(*mask.shape, -1))
        return functional.normalize(vectors, dim=-1), weights


def plan(graph: Graph, batch: Int64s, layers: int, edit: Edit | None = None) -> tuple[Int64s, list[tuple[int, Graph]]]:
    """The items that `layers` convolutions of a batch read, the batch first, and each layer's targets with their lists.

    Lists hold places among the items read after the batch: an item that is somebody's neighbour is read again, so that
    what is hidden from it in the batch is not hidden from its neighbours. The first layer has the most targets.
    edit: changes lists before they are followed, the batch's rows first.
    """
    others, lists = np.zeros(0, np.int64), []
    for _ in range(layers):
        rows = graph.rows(np.concatenate([batch, others]))
        lists.append(edit(rows) if edit else rows)
        others = np.concatenate([others, lists[-1].around(others)])
    placed = [(len(rows.together), placed_among(rows, others, len(batch))) for rows in reversed(lists)]
    return np.concatenate([batch, others]), placed


def placed_among(lists: Graph, others: Int64s, start: int) -> Graph:
    """Lists of codes as lists of places, the first of `others` being at `start`."""
    order = np.argsort(others, kind="stable")

    def place(wanted: Int32s) -> Int32s:
        if not len(others):
            return wanted
        rows = np.searchsorted(others, np.maximum(wanted, 0), sorter=order).clip(max=len(others) - 1)
        places = start + order[rows]
        return np.where(wanted == NOBODY, NOBODY, places).astype(np.int32)

    return Graph(place(lists.like), place(lists.together))


def edges_of(targets: int, lists: Graph | None, mask: Mask) -> Layer:
    """Neighbour lists of the first `targets` items as edges between nodes that exist; mask (items a layer reads, m)."""
    modalities = mask.shape[1]
    none = np.zeros((2, 0), np.int64)
    ends = {"own": _own(mask[:targets]), "like": none, "together": none}
    if lists is not None:
        for kind, table in (("like", lists.like), ("together", lists.together[:, None].repeat(modalities, axis=1))):
            item, modality, place = np.nonzero(table != NOBODY)
            source = table[item, modality, place].astype(np.int64)
            real = mask[item, modality] & mask[source, modality]
            ends[kind] = np.stack([source * modalities + modality, item * modalities + modality])[:, real]
    shape = (targets * modalities, mask.size)
    return Layer(targets, {kind: _averaging(nodes, shape) for kind, nodes in ends.items()})


def _averaging(ends: Int64s, shape: tuple[int, int]) -> Tensor:
    source, target = ends
    degree = np.bincount(target, minlength=shape[0]).astype(np.float32)
    edges = sp.csr_matrix((1 / degree[target], (target, source)), shape=shape, dtype=np.float32)
    edges.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        indptr, indices = (torch.from_numpy(array.astype(np.int64)) for array in (edges.indptr, edges.indices))
        return torch.sparse_csr_tensor(
            indptr, indices, torch.from_numpy(edges.data), size=shape, check_invariants=False
        )


def _own(mask: Mask) -> Int64s:
    modalities = mask.shape[1]
    ends = [np.zeros((2, 0), np.int64)]
    for source in range(modalities):
        for target in range(modalities):
            if source != target:
                items = np.flatnonzero(mask[:, source] & mask[:, target])
                ends.append(np.stack([items * modalities + source, items * modalities + target]))
    return np.concatenate(ends, axis=1)
