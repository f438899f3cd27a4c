"""Fusion: vectors of any subset of an item's modalities become one vector."""

from __future__ import annotations

from pathlib import Path

from pipeline.artefacts.read import readable
from pipeline.fusion.base import FILE, Frontend, Fusion, Made, Tensors, read

__all__ = ["FILE", "Frontend", "Fusion", "load", "load_catalogue"]


def load(path: Path) -> Fusion:
    """A fusion that `Fusion.save` wrote, for vectors that are no catalogue's, such as a query's.

    Raises ShardCorrupt if the file is not that.
    """
    made, tensors = read(path)
    with readable(path, "not the weights of a fusion"):
        return _of(made, tensors)


def load_catalogue(folder: Path) -> Fusion:
    """The fusion of a `fused/<digest>` folder, for the catalogue's items: a gnn has its graph.

    Raises ShardCorrupt as `load`.
    """
    fusion = load(folder / FILE)
    if fusion.kind == "gnn":
        from pipeline.fusion import graph
        from pipeline.fusion.learned import GnnFusion

        assert isinstance(fusion, GnnFusion)
        fusion.graph = graph.load(folder / graph.FILE)
    return fusion


def _of(made: Made, tensors: Tensors) -> Fusion:
    from pipeline.fusion.concat import ConcatFusion
    from pipeline.fusion.linear import LinearFusion

    frontend = Frontend.of(tensors, made.modalities, made.width)
    if made.settings is not None:
        from pipeline.fusion.learned import KINDS

        learned = KINDS[made.kind](frontend, made.settings)
        learned.restore(tensors)
        return learned
    return ConcatFusion(frontend, tensors) if made.kind == "concat" else LinearFusion(frontend, tensors["weights"])
