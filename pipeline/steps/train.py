"""Train: fits the recommender twice, once to be judged and once to go out.

- `evaluated/` is fitted on the training part; how many epochs it takes is chosen on the validation part;
- `published/` is fitted again with those settings and that number of epochs on everything up to the night's "now";
- a fit that is killed leaves a checkpoint under `.tmp/fit-KEY`, which the next run of this step goes on from;
- with several `train.processes`, the step runs in each of them, as under `torchrun`: all fit, and the first one writes.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.log import Log
from pipeline.artefacts.model import Chosen, Curves, FitDetails, Fitted, Trained
from pipeline.artefacts.vectors import check_vectors
from pipeline.config.train import RECOMMENDERS, TrainSettings
from pipeline.errors import StepFailed, border
from pipeline.fusion.user_pooling import Pooling, read_pooling
from pipeline.interactions import Interactions
from pipeline.night import Night, StepReceipt
from pipeline.recommend import kind_of, parts, reads, recommender
from pipeline.recommend.base import Content, Fit, Recommender
from pipeline.recommend.user_sides import save_model
from pipeline.runtime import threads
from pipeline.steps.extract import modality_vectors, shard_paths
from pipeline.steps.fits import drop_scratch, metric_of, scratch_folder, shown, validation_of
from pipeline.steps.ingest import staged_of
from pipeline.steps.warm_start import Plan, choosing, planned, settings_of, settled_by
from pipeline.training.context import Scratch
from pipeline.training.distributed import ALONE, Processes, joined
from pipeline.training.launch import launch
from pipeline.workspace import digest

VERSION = 12


@dataclass(frozen=True)
class Fits:
    """Both fits and their data: `judged` is evaluated, as `chosen`; `published` goes out, as `final`.

    plan: what they were fitted by.
    """

    log: Log
    everything: Interactions
    judged: Recommender
    chosen: Fit
    published: Recommender
    final: Fit
    plan: Plan


def run(night: Night) -> StepReceipt:
    """Writes `models/<digest>/`: item and user vectors and weights of both fits, and their curves.

    Ends the process if it is one of several and not the first. Raises StepFailed if the training part is empty.
    """
    with joined() as group:
        return _run(night, group)


def _run(night: Night, group: Processes) -> StepReceipt:
    settings = night.config.train
    shared = any(kind_of(part.model).shared for part in parts(settings))
    processes = (group.size if group.size > 1 else settings.processes) if shared else 1
    plan = planned(night, lambda plan: night.workspace.artefact(f"models/{_key(night, processes, plan)}"))
    key = _key(night, processes, plan)
    missing = night.full or night.workspace.artefact(f"models/{key}") is None
    if missing and processes > group.size and not night.dry:
        launch(processes, threads(night.config), run, night)
        return night.receipt("train")
    scratch = scratch_folder(night, key)
    if group.rank:
        if missing and shared:
            _fitted(night, scratch, plan, group)
        raise SystemExit(0)

    def build(folder: Path) -> FitDetails:
        return _build(night, folder, _fitted(night, scratch, plan, group if shared else ALONE))

    receipt = night.step("train", "models", key, build)
    drop_scratch(night, key)
    return receipt


def read(night: Night) -> Trained:
    """What this run has trained. Raises StepFailed if it has not yet."""
    receipt = night.receipt("train")
    return Trained(night.workspace.path(receipt.path), receipt.noted(FitDetails))


def _key(night: Night, processes: int, plan: Plan) -> str:
    """Names a model by its own settings and by those inputs that its kind says it reads."""
    staged, settings = staged_of(night), plan.settings
    kinds, seen = [kind_of(part.model) for part in parts(settings)], reads(settings)
    read: dict[str, object] = {"log": staged.digest("interactions")}
    if "fused" in seen:
        read["fused"] = night.receipt("fuse").digest
    if "modalities" in seen:
        read["modalities"] = shard_paths(night)
    if "titles" in seen:
        read["titles"] = staged.digest("items/")
    if any(kind.seeded for kind in kinds):
        read["seed"] = night.config.seed
    if any(kind.validated for kind in kinds):
        read |= {"metric": metric_of(night), "validation_users": night.config.evaluate.validation_users}
    if plan.before:
        read["before"] = [plan.before, settings.warm_start]
    if plan.kept:
        read["kept"] = settings_of(plan.kept)
    if processes > 1:  # several add up in another order, which other bytes come of
        read["processes"] = processes
    return digest("train", VERSION, settings.meaning(), [_identity(part) for part in parts(settings)], read)


def _identity(settings: TrainSettings) -> list[object]:
    """What decides the model besides its settings: its code, where that is the user's own, and the weights it is of."""
    kind = kind_of(settings.model)
    return [kind.version, *RECOMMENDERS.identity(settings.model), kind.weights_digest(settings)]


def content_of(night: Night, log: Log, read: frozenset[str]) -> Content:
    """The items in the log's order, with only what the model reads, see `Model.reads`."""
    vectors, pooling = np.full((len(log.items), 1), np.nan, np.float32), Pooling()
    if "fused" in read:
        fused = Fused(night.folder_of("fuse"))
        ids, vectors = fused.items()
        if ids != log.items:
            raise StepFailed("the fused items are not those of this run's snapshot; run `medley fuse` again")
        pooling = read_pooling(fused, log.users)
    spaces = modality_vectors(night) if "modalities" in read else ()
    own = {str(name): (np.nan_to_num(rows), ~np.isnan(rows[:, 0])) for name, rows in spaces}
    titles = staged_of(night).items(["title"])["title"].to_pylist() if "titles" in read else ()
    present = ~np.isnan(vectors[:, 0])
    return Content(np.nan_to_num(vectors), present, pooling, own, [title or "" for title in titles])


def _fitted(night: Night, scratch: Path, plan: Plan, group: Processes) -> Fits:
    """scratch: the folder of the fits' checkpoints."""
    staged, settings, kept = staged_of(night), plan.settings, plan.kept
    log, everything = staged.read_log(), staged.read_everything()
    content = content_of(night, log, reads(settings))
    training = log.of("train")
    if not len(training):
        raise StepFailed("the training part is empty: lower ingest.validation_share and ingest.test_share")

    def made(part: str) -> Recommender:
        model = recommender(settings, night.config.seed, threads(night.config), metric_of(night))
        for name, member in {"": model, **model.members}.items():
            member.settled = kept[member.name].settings if member.name in kept else {}
            member.scratch = Scratch(
                scratch / part / f"{name or settings.model}.safetensors", settings.checkpoint_seconds
            )
            if plan.before and (settings.warm_start or type(member).reads_earlier(member.settings, kept)):
                from pipeline.recommend.warm_start import Before

                earlier = night.workspace.path(plan.before, part)
                member.before = Before.read(earlier, name, log.items, log.users, settings.warm_start)
            member.processes = group
        return model

    evaluated = made("evaluated")
    longest = max(getattr(part, "max_epochs", 1) for part in parts(settings))
    what = f"model {settings.model}"
    with border(what), nullcontext() if group.rank else shown(night, "evaluated", longest) as on_epoch:
        chosen = evaluated.fit(content, training, validation_of(night, log), on_epoch=on_epoch)
    published = made("published")
    longest = max(1, *(fit.chosen_epochs for fit in (chosen, *chosen.members.values())))
    with border(what), nullcontext() if group.rank else shown(night, "published", longest) as on_epoch:
        final = published.refit(content, everything, chosen, on_epoch)
    return Fits(log, everything, evaluated, chosen, published, final, plan)


def _build(night: Night, folder: Path, fits: Fits) -> FitDetails:
    log, chosen, final = fits.log, fits.chosen, fits.final
    _save(fits.judged, log, log.of("train", "validation"), folder / "evaluated")
    _save(fits.published, log, fits.everything, folder / "published")
    models, kept = choosing(night.config.train), fits.plan.kept
    settled = settled_by(night, models, kept, {night.config.train.model: chosen, **chosen.members})
    details = FitDetails(
        chosen.chosen_epochs,
        dict(chosen.settings),
        rows=len(fits.everything),
        model=night.config.train.model,
        metric=fits.judged.metric,
        inductive=fits.judged.inductive,
        before=fits.plan.before,
        members={name: Chosen(fit.chosen_epochs, dict(fit.settings)) for name, fit in chosen.members.items()},
        fit_seconds={"evaluated": round(chosen.seconds, 2), "published": round(final.seconds, 2)},
        # Of those that are not fitted meanwhile too: a next night without change keeps the same.
        settled={**kept, **settled},
        tries=dict(chosen.tries or fits.plan.tries),
    )
    members = {
        name: {"evaluated": fit.curve, "published": final.members.get(name, Fit()).curve}
        for name, fit in chosen.members.items()
    }
    Curves(details.model, details.metric, chosen.chosen_epochs, chosen.curve, final.curve, members).write(folder)
    return details


def _save(model: Recommender, log: Log, history: Interactions, folder: Path) -> None:
    folder.mkdir()
    what = f"model {model.name}"
    with border(what):
        items, users = model.item_vectors, model.user_vectors(history)
    check_vectors(f"{what}, for items,", items, len(log.items))
    check_vectors(f"{what}, for users,", users, len(log.users), items.shape[1])
    Fitted(folder).write((log.items, items), (log.users, users))
    save_model(model, folder)
