"""The night's steps, one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pipeline import night as nights
from pipeline.config import Config, Modality
from pipeline.errors import ConfigError
from pipeline.night import Night, StepReceipt
from pipeline.workspace import Workspace

STEPS = ("ingest", "extract", "fuse", "train", "evaluate", "index", "publish")


def perform(night: Night, name: str) -> list[StepReceipt]:
    """Runs one step, for every modality and bucket that it is for. Raises what it raises."""
    module = import_module(f"pipeline.steps.{name}")
    if name == "extract":
        return [receipt for modality in configured(night.config) for receipt in module.run(night, modality)]
    step: Callable[[Night], StepReceipt] = module.run
    return [step(night)]


def fused(config: Config, run_id: str | None) -> Night:
    """A run that has fused vectors: the one that is named, the newest, or a new one that is taken so far."""
    known = run_id or nights.newest_with(Workspace(Path(config.workspace)), "fuse")
    if known:
        return nights.resume(config, known)
    night = nights.begin(config, None, None)
    for name in STEPS[: STEPS.index("fuse") + 1]:
        perform(night, name)
    return night


def configured(config: Config) -> list[Modality]:
    """The modalities that have an encoder. Raises ConfigError if none has."""
    from pipeline.encoders import modalities

    found = modalities(config)
    if not found:
        raise ConfigError("extract: no modality is configured; give extract.text, image or audio an encoder")
    return found
