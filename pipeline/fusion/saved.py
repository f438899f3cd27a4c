"""A fitted fusion as one safetensors file, which says in its metadata what kind it is and what it was set to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.read import readable
from pipeline.config.fuse import FUSIONS
from pipeline.fusion.base import Frontend, Fusion


def save(fusion: Fusion, path: Path) -> None:
    """Writes the projections and the fitted parameters."""
    made_by = {"modalities": fusion.frontend.modalities, "settings": fusion.settings.model_dump(mode="json")}
    # Under one name: of several, safetensors writes another first in every process.
    metadata = {"fusion": json.dumps(made_by, sort_keys=True)}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in fusion.tensors().items()}
    save_file({**fusion.frontend.tensors(), **tensors}, path, metadata=metadata)


def load(path: Path) -> Fusion:
    """What `save` wrote, for vectors that are no catalogue's, such as a query's.

    Raises ShardCorrupt if the file is not that, ConfigError if its kind is of a package that is not installed.
    """
    with readable(path, "not the weights of a fusion"):
        with safe_open(path, framework="numpy") as file:
            made_by = json.loads(file.metadata()["fusion"])
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        kind: type[Fusion] = FUSIONS.find(made_by["settings"]["kind"])
        settings = kind.Settings.model_validate(made_by["settings"])
        fusion = kind(Frontend.of(tensors, made_by["modalities"], settings.width), settings)
        fusion.restore(tensors)
    return fusion


def save_catalogue(fusion: Fusion, fused: Fused) -> None:
    """Writes the fusion, and what the catalogue's items need beside it to be fused again."""
    save(fusion, fused.weights)
    fusion.save_catalogue(fused.folder)


def load_catalogue(fused: Fused) -> Fusion:
    """The fusion of a fused folder, for the catalogue's items: a gnn has its graph. Raises as `load`."""
    fusion = load(fused.weights)
    fusion.load_catalogue(fused.folder)
    return fusion
