"""Train: fits the recommender twice, once to be judged and once to go out.

- `evaluated/` is fitted on the training part; how many epochs it takes is chosen on the validation part;
- `published/` is fitted again with those settings and that number of epochs on everything up to the night's "now";
- on both goes a re-ranker, see `pipeline.rerank`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline import rerank
from pipeline.config.pairwise import Schedule
from pipeline.config.sections import Train
from pipeline.errors import StepFailed
from pipeline.extract import modality_vectors
from pipeline.ingest import inputs_digest
from pipeline.interactions import Interactions
from pipeline.night import Night, StepReceipt
from pipeline.recommend import READS_MODALITIES, Content, Fit, OnEpoch, Recommender, build
from pipeline.runtime import threads
from pipeline.tables import Log, read_everything, read_log, read_vectors, vector_column, write_vectors
from pipeline.users import read_pooling
from pipeline.workspace import Json, digest

VERSION = 6


def run(night: Night) -> StepReceipt:
    """Writes `models/<digest>/`: item and user vectors and weights of both fits, and their curves.

    Raises StepFailed if the training part is empty.
    """
    fused = night.receipt("fuse")
    log_digest = inputs_digest(night.receipt("ingest"), "interactions.parquet")
    users = [night.config.fuse.half_life_days, night.config.fuse.users]
    settings = [night.config.train, night.config.ranker, night.config.seed]
    key = digest("train", VERSION, *settings, users, fused.digest, log_digest)
    return night.step("train", "models", key, lambda folder: _build(night, folder))


def content_of(night: Night, log: Log, model: str) -> Content:
    """What a model reads of the items, in the log's order: fused vectors, how users are made of them, and for a model
    that reads them each modality's own vectors.
    """
    folder = night.workspace.path(night.receipt("fuse").path)
    ids, vectors = read_vectors(folder / "items", "item_id")
    if ids != log.items:
        raise StepFailed("the fused items are not those of this run's snapshot; run `medley fuse` again")
    models = night.config.train.blend.models if model == "blend" else (model,)
    found = modality_vectors(night) if any(name in READS_MODALITIES for name in models) else ()
    told = {str(name): (np.nan_to_num(own), ~np.isnan(own[:, 0])) for name, own in found}
    return Content(np.nan_to_num(vectors), ~np.isnan(vectors[:, 0]), read_pooling(night, folder, log), told)


def _build(night: Night, folder: Path) -> Json:
    log, everything = read_log(night), read_everything(night)
    content = content_of(night, log, night.config.train.model)
    training = log.of("train")
    if not len(training):
        raise StepFailed("the training part is empty: lower ingest.validation_share and ingest.test_share")
    settings = night.config.train
    judged = build(settings.model, night.config, threads(night.config))
    with _progress("evaluated fit", _longest(settings, settings.model)) as on_epoch:
        chosen = judged.fit(content, training, log.of("validation"), on_epoch=on_epoch)
    _save(judged, log, log.of("train", "validation"), folder / "evaluated")
    published = build(settings.model, night.config, threads(night.config))
    longest = max(fit.chosen_epochs for fit in (chosen, *chosen.members.values()))
    with _progress("published fit", max(longest, 1)) as on_epoch:
        final = published.refit(content, everything, chosen, on_epoch)
    _save(published, log, everything, folder / "published")
    (folder / "curves.json").write_text(_curves(settings.model, chosen, final), "utf-8")
    ranker = rerank.learn(night, log, everything, (judged, published), folder)
    return {
        "rows": len(everything),
        "model": settings.model,
        "inductive": judged.inductive,
        **_choices(chosen),
        "members": {name: _choices(fit) for name, fit in chosen.members.items()},
        "fit_seconds": {"evaluated": round(chosen.seconds, 2), "published": round(final.seconds, 2)},
        "ranker": ranker,
    }


def _choices(fit: Fit) -> Json:
    return {"chosen_epochs": fit.chosen_epochs, "settings": dict(fit.settings)}


def _longest(settings: Train, model: str) -> int:
    """Epochs after which the fit of a model, or of each of those blended, ends at the latest."""
    if model == "blend":
        return max(_longest(settings, member) for member in settings.blend.models)
    own: dict[str, Schedule] = {"graph": settings.graph, "elsa": settings.elsa}
    own |= dict.fromkeys(("bpr", "vbpr", "lightgcn"), settings.pairwise)
    if model == "sequence":
        return settings.sequence.max_epochs
    return own[model].max_epochs if model in own else settings.max_epochs


def _save(model: Recommender, log: Log, history: Interactions, folder: Path) -> None:
    folder.mkdir()
    items = pa.table({"item_id": pa.array(log.items), "vector": vector_column(model.item_vectors)})
    write_vectors(folder / "item_vectors.parquet", items)
    users = pa.table({"user_id": pa.array(log.users), "vector": vector_column(model.user_vectors(history))})
    write_vectors(folder / "user_vectors.parquet", users)
    model.save(folder)


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


@contextmanager
def _progress(name: str, epochs: int) -> Iterator[OnEpoch]:
    """A bar on a terminal; nothing in a log file, where a bar is noise."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name, total=epochs, now="")

        def advance(epoch: dict[str, float]) -> None:
            now = " ".join(f"{name} {value:.4g}" for name, value in epoch.items())
            progress.update(bar, completed=epoch["epoch"], now=now)

        yield advance
