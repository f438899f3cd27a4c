"""Train: fits the recommender twice, once to be judged and once to go out.

- `evaluated/` is fitted on the training part; how many epochs it takes is chosen on the validation part;
- `published/` is fitted again with those settings and that number of epochs on everything up to the night's "now";
- a fit that is killed leaves a checkpoint under `.tmp/fit-KEY`, which the next run of this step goes on from;
- with several `train.processes`, the step runs in each of them, as under `torchrun`: all fit, and the first one writes.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.log import Log
from pipeline.artefacts.vectors import read_vectors, vector_column, write_vectors
from pipeline.config.sections import Train
from pipeline.config.training import Schedule
from pipeline.errors import StepFailed
from pipeline.fusion.user_pooling import read_pooling
from pipeline.interactions import Interactions
from pipeline.night import Night, StepReceipt
from pipeline.recommend import READS_MODALITIES, READS_TITLES, SHARED, Content, Fit, Recommender, build
from pipeline.recommend.user_sides import save_with_reads
from pipeline.runtime import threads
from pipeline.steps.extract import modality_vectors
from pipeline.steps.fits import drop_scratch, scratch_folder, shown
from pipeline.steps.ingest import staged_of
from pipeline.steps.warm_start import earlier_model
from pipeline.training.context import Scratch
from pipeline.training.distributed import ALONE, Processes, joined
from pipeline.training.launch import launch
from pipeline.workspace import Json, digest

VERSION = 9


@dataclass(frozen=True)
class Fitted:
    """Both fits, and what they learned from: the one to be judged with `chosen`, the one to go out with `final`."""

    log: Log
    everything: Interactions
    judged: Recommender
    chosen: Fit
    published: Recommender
    final: Fit


def run(night: Night) -> StepReceipt:
    """Writes `models/<digest>/`: item and user vectors and weights of both fits, and their curves.

    Ends the process if it is one of several and not the first. Raises StepFailed if the training part is empty.
    """
    with joined() as group:
        return _run(night, group)


def _run(night: Night, group: Processes) -> StepReceipt:
    settings, before = night.config.train, earlier_model(night)
    shared = any(name in SHARED for name in models_of(settings, settings.model))
    processes = (group.size if group.size > 1 else settings.processes) if shared else 1
    key = _key(night, before, processes)
    missing = night.full or night.workspace.artefact(f"models/{key}") is None
    if missing and processes > group.size:
        launch(processes, night.config, run, night)
        return night.receipt("train")
    scratch = scratch_folder(night, key)
    if group.rank:
        if missing and shared:
            _fitted(night, scratch, before, group)
        raise SystemExit(0)

    def build(folder: Path) -> Json:
        return _build(night, folder, before, _fitted(night, scratch, before, group if shared else ALONE))

    receipt = night.step("train", "models", key, build)
    drop_scratch(night, key)
    return receipt


def _key(night: Night, before: str, processes: int) -> str:
    fused = night.receipt("fuse")
    log_digest = staged_of(night).digest("interactions", "shown")
    made_by = night.config.train.model_dump(mode="json", exclude={"tensorboard", "checkpoint_seconds", "processes"})
    settings = [made_by, night.config.seed]
    models = models_of(night.config.train, night.config.train.model)
    read = _texts(night) if any(name in READS_TITLES for name in models) else []
    # Several processes add up in another order, which other bytes come of.
    several = [{"processes": processes}] if processes > 1 else []
    return digest("train", VERSION, *settings, fused.digest, log_digest, before, *read, *several)


def content_of(night: Night, log: Log, model: str) -> Content:
    """What a model reads of the items, in the log's order: fused vectors, how users are made of them, and for a model
    that reads them each modality's own vectors, or titles.
    """
    folder = night.workspace.path(night.receipt("fuse").path)
    ids, vectors = read_vectors(folder / "items", "item_id")
    if ids != log.items:
        raise StepFailed("the fused items are not those of this run's snapshot; run `medley fuse` again")
    models = models_of(night.config.train, model)
    found = modality_vectors(night) if any(name in READS_MODALITIES for name in models) else ()
    told = {str(name): (np.nan_to_num(own), ~np.isnan(own[:, 0])) for name, own in found}
    reads = any(name in READS_TITLES for name in models)
    titles = staged_of(night).items(["title"])["title"].to_pylist() if reads else ()
    pooling = read_pooling(Fused(folder), log.users)
    return Content(np.nan_to_num(vectors), ~np.isnan(vectors[:, 0]), pooling, told, [title or "" for title in titles])


def models_of(settings: Train, model: str) -> tuple[str, ...]:
    """The model, or those that it blends."""
    return settings.blend.models if model == "blend" else (model,)


def _texts(night: Night) -> list[str]:
    """What a language model reads besides vectors and the log: its own weights, and the items' titles."""
    from pipeline.recommend.llm_checkpoint import identity

    return [identity(night.config.train.llm), staged_of(night).digest("items/")]


def _fitted(night: Night, scratch: Path, before: str, group: Processes) -> Fitted:
    """scratch: where fits leave what they go on from after a kill. before: the earlier model that they may read."""
    staged = staged_of(night)
    log, everything = staged.read_log(), staged.read_everything()
    content = content_of(night, log, night.config.train.model)
    training = log.of("train")
    if not len(training):
        raise StepFailed("the training part is empty: lower ingest.validation_share and ingest.test_share")
    settings = night.config.train

    def made(part: str) -> Recommender:
        model = build(settings.model, night.config, threads(night.config))
        for name, one in {"": model, **model.members}.items():
            one.scratch = Scratch(scratch / part / f"{name or settings.model}.safetensors", settings.checkpoint_seconds)
            if before:
                from pipeline.recommend.warm_start import Before

                earlier = night.workspace.path(before, part)
                one.before = Before.read(earlier, name, log.items, log.users, settings.warm_start)
            one.processes = group
        return model

    judged = made("evaluated")
    longest = _longest(settings, settings.model)
    with nullcontext() if group.rank else shown(night, "evaluated", longest) as on_epoch:
        chosen = judged.fit(content, training, log.of("validation"), on_epoch=on_epoch)
    published = made("published")
    longest = max(1, *(fit.chosen_epochs for fit in (chosen, *chosen.members.values())))
    with nullcontext() if group.rank else shown(night, "published", longest) as on_epoch:
        final = published.refit(content, everything, chosen, on_epoch)
    return Fitted(log, everything, judged, chosen, published, final)


def _build(night: Night, folder: Path, before: str, found: Fitted) -> Json:
    log, everything, model = found.log, found.everything, night.config.train.model
    _save(found.judged, log, log.of("train", "validation"), folder / "evaluated")
    _save(found.published, log, everything, folder / "published")
    (folder / "curves.json").write_text(_curves(model, found.chosen, found.final), "utf-8")
    return {
        "rows": len(everything),
        "model": model,
        "inductive": found.judged.inductive,
        "before": before,
        **_choices(found.chosen),
        "members": {name: _choices(fit) for name, fit in found.chosen.members.items()},
        "fit_seconds": {"evaluated": round(found.chosen.seconds, 2), "published": round(found.final.seconds, 2)},
    }


def _choices(fit: Fit) -> Json:
    return {"chosen_epochs": fit.chosen_epochs, "settings": dict(fit.settings)}


def _longest(settings: Train, model: str) -> int:
    """Epochs after which the fit of a model, or of each of those blended, ends at the latest."""
    if model == "blend":
        return max(_longest(settings, member) for member in settings.blend.models)
    section = getattr(settings, "pairwise" if model in ("vbpr", "lightgcn") else model, settings)
    return section.max_epochs if isinstance(section, Schedule) else settings.max_epochs


def _save(model: Recommender, log: Log, history: Interactions, folder: Path) -> None:
    folder.mkdir()
    items = pa.table({"item_id": pa.array(log.items), "vector": vector_column(model.item_vectors)})
    write_vectors(folder / "item_vectors.parquet", items)
    users = pa.table({"user_id": pa.array(log.users), "vector": vector_column(model.user_vectors(history))})
    write_vectors(folder / "user_vectors.parquet", users)
    save_with_reads(model, folder)


def _curves(model: str, chosen: Fit, final: Fit) -> str:
    curves = {
        "model": model,
        "chosen_epochs": chosen.chosen_epochs,
        "evaluated": chosen.curve,
        "published": final.curve,
        "members": {
            name: {"evaluated": fit.curve, "published": final.members[name].curve if name in final.members else []}
            for name, fit in chosen.members.items()
        },
    }
    return json.dumps(curves, indent=1, sort_keys=True)
