"""The fits of the night that is published, where this night's may begin at them or learn from their mistakes.

They are an input like any other: their digest is part of what names this night's model. A night goes without where
the published one knows what this one may not: a later "now", a later cut, or other items held out.
"""

from __future__ import annotations

import logging

from pipeline.artefacts.staged import Staged
from pipeline.night import Night
from pipeline.recommend import kind_of, parts
from pipeline.steps.ingest import staged_of
from pipeline.workspace import Json

log = logging.getLogger("medley")


def earlier_model(night: Night) -> str:
    """The path in the workspace of the model to read, empty where none is asked for or none may be read."""
    settings = night.config.train
    if not (settings.warm_start or any(kind_of(part.model).reads_earlier(part) for part in parts(settings))):
        return ""
    already = night.workspace.read_json(f"{night.folder}/steps/train.json")
    if already:
        # The run has trained before, and may be what is published now.
        return str(already["details"].get("before", ""))
    current = night.workspace.read_json("CURRENT.json")
    if current is None:
        return ""
    reason = _refusal(night, f"runs/{current['run_id']}")
    if reason:
        log.info("train begins without the night %s: %s", current["run_id"], reason)
        return ""
    return str(_step(night, f"runs/{current['run_id']}", "train")["path"])


def _refusal(night: Night, earlier: str) -> str:
    """Why the earlier model may not be read; empty if it may."""
    run = night.workspace.read_json(f"{earlier}/run.json") or {}
    trained, ingested = (_step(night, earlier, name) for name in ("train", "ingest"))
    if not run or not trained or not ingested:
        return "its model is gone"
    if any(night.workspace.artefact(str(step["path"])) is None for step in (trained, ingested)):
        return "its model is gone"
    if night.config.train.warm_start and trained["details"]["model"] != night.config.train.model:
        return "it is of another model"
    if str(run["as_of"]) > night.as_of.isoformat():
        return "it is of a later time"
    if (
        run["config"]["ingest"] != night.config.ingest.model_dump(mode="json")
        or run["config"]["seed"] != night.config.seed
    ):
        return "it was staged by other settings"
    if night.config.ingest.split == "given":
        return "a given split may give an interaction another part than it did"
    earlier_cut = Staged(night.workspace.path(str(ingested["path"]))).summary.validation_cut
    cut = staged_of(night).summary.validation_cut
    if earlier_cut and cut and earlier_cut > cut:
        return "its training part ends later"
    return ""


def _step(night: Night, run: str, name: str) -> Json:
    return night.workspace.read_json(f"{run}/steps/{name}.json") or {}
