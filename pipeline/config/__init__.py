"""The configuration: one YAML file read into frozen, typed models; an unknown key or a wrong value is named.

This package imports neither torch nor pandas: the scheduler makes its manual-trigger form from these models.
"""

from __future__ import annotations

from pipeline.config.base import MODALITIES, Modality, Schema, Section, Share
from pipeline.config.encoders import Extract, encoders_of, kinds_of
from pipeline.config.fuse import FUSIONS, Fuse
from pipeline.config.load import load
from pipeline.config.schema import leaves
from pipeline.config.sections import Config, Index, Source

__all__ = [
    "FUSIONS",
    "MODALITIES",
    "Config",
    "Extract",
    "Fuse",
    "Index",
    "Modality",
    "Schema",
    "Section",
    "Share",
    "Source",
    "encoders_of",
    "kinds_of",
    "leaves",
    "load",
]
