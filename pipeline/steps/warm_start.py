"""The fits of the night that is published, where this night's may begin at them or learn from their mistakes.

They are an input like any other: their digest is part of what names this night's model. A night goes without where
the published one knows what this one may not: a later "now", a later cut, or other items held out.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.artefacts.runs import StepReceipt, receipt_of
from pipeline.artefacts.staged import Staged
from pipeline.night import Night
from pipeline.recommend import kind_of, parts
from pipeline.steps.ingest import staged_of
from pipeline.workspace import read_json

log = logging.getLogger("medley")


def earlier_model(night: Night) -> str:
    """The path in the workspace of the model to read, empty where none is asked for or none may be read."""
    settings = night.config.train
    if not (settings.warm_start or any(kind_of(part.model).reads_earlier(part) for part in parts(settings))):
        return ""
    if already := night.done("train"):
        # The run has trained before, and may be what is published now.
        return str(already.details["before"])
    current = night.workspace.read_json("CURRENT.json")
    if current is None:
        return ""
    earlier = night.workspace.path("runs", current["run_id"])
    trained, ingested = receipt_of(earlier, "train"), receipt_of(earlier, "ingest")
    reason = _refusal(night, earlier, trained, ingested) if trained and ingested else "its model is gone"
    if reason or not trained:
        log.info("train begins without the night %s: %s", current["run_id"], reason)
        return ""
    return trained.path


def _refusal(night: Night, earlier: Path, trained: StepReceipt, ingested: StepReceipt) -> str:
    """Why the earlier model may not be read; empty if it may. earlier: the folder of its run."""
    run, config = read_json(earlier / "run.json"), night.config
    if not run or any(night.workspace.artefact(step.path) is None for step in (trained, ingested)):
        return "its model is gone"
    if config.train.warm_start and trained.details["model"] != config.train.model:
        return "it is of another model"
    if str(run["as_of"]) > night.as_of.isoformat():
        return "it is of a later time"
    staged_by = run["config"]["ingest"], run["config"]["seed"]
    if staged_by != (config.ingest.model_dump(mode="json"), config.seed):
        return "it was staged by other settings"
    if config.ingest.split == "given":
        return "a given split may give an interaction another part than it did"
    earlier_cut = Staged(night.workspace.path(ingested.path)).summary.validation_cut
    cut = staged_of(night).summary.validation_cut
    return "its training part ends later" if earlier_cut and cut and earlier_cut > cut else ""
