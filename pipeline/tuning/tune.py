"""Tune: tries settings of the recommender on the fused vectors of a run, and says which the validation part likes best.

- search: Optuna's tree-structured Parzen estimator (Bergstra and others, 2011); the first trial is what is configured;
- judge: a model is fitted as the night's evaluated fit is, and ranked for the validation part given the training one;
  the test part is handed to nothing here;
- resume: trials are a journal of JSON lines in `tunes/<digest>/`. One that a kill cut short is marked as failed and
  tried again, with the same settings: what a trial tries follows from the seed and the trials before it alone;
- result: `tunes/<digest>/tune.json`. The published night stays as it is: its settings are the user's to change.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import Config
from pipeline.errors import StepFailed
from pipeline.evaluation.metrics import Task, total_of, validation_metric
from pipeline.interactions import Interactions
from pipeline.recommend import reads, recommender
from pipeline.recommend.base import Content, Fit, OnEpoch
from pipeline.runtime import threads
from pipeline.storage.documents import Json
from pipeline.tuning.search_space import Space, applied, configured, suggest
from pipeline.workspace import Workspace, digest

log = logging.getLogger("medley")
DOCUMENT, JOURNAL, LOCK = "tune.json", "journal.log", "lock"
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Place:
    """Where a search is kept. path: its folder in the workspace. run_id: of the run whose vectors are used."""

    workspace: Workspace
    path: str
    run_id: str


def search(config: Config, space: Space, material: Material, place: Place) -> Json:
    """Tries settings until there are `tune.trials` trials or the time is over; returns what `tune.json` says.

    Raises StepFailed if nothing can be judged, or another search of it is running.
    """
    folder = place.workspace.path(place.path)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / LOCK):
        return _Search(config, space, place, _study(folder / JOURNAL, config), material).run()


def judge(
    config: Config,
    content: Content,
    train: Interactions,
    validation: Interactions,
    on_epoch: OnEpoch | None = None,
) -> tuple[float, Fit]:
    """The mean of the gate's metric on validation of a model fitted on the training part, and how the fit went.

    These two parts are all it is handed of the log; the training part is the history that users are ranked from.
    """
    metric = validation_metric(config.publish.gate.metric)
    model = recommender(config.train, config.seed, threads(config), metric)
    fit = model.fit(content, train, validation, on_epoch=on_epoch)
    total, users = total_of(model.scorer(train), Task(train, validation), metric)
    return (total / users if users else math.nan), fit


@dataclass(frozen=True)
class Material:
    """What trials are fitted on and judged by. content: the items, as far as they are read, see `Model.reads`."""

    train: Interactions
    validation: Interactions
    content: Callable[[frozenset[str]], Content]


@dataclass
class _Search:
    config: Config
    space: Space
    place: Place
    study: optuna.Study
    material: Material
    started: float = field(default_factory=time.perf_counter)

    @property
    def settled(self) -> list[FrozenTrial]:
        """Trials that are not to be repeated: all but those that a kill cut short."""
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) or "problem" in t.user_attrs]

    def run(self) -> Json:
        tune = self.config.tune
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            log.info("tune trial %d was cut short; it is tried again", trial.number)
        while (done := len(self.settled)) < tune.trials:
            if time.perf_counter() - self.started > tune.timeout_seconds:
                log.info("tune: the time is over after %d of %d trials", done, tune.trials)
                break
            self._attempt(self._next(done))
            self.place.workspace.write_json(self._path, self._document())
        document = self._document()
        if document["best"] is None:
            problems = [str(trial["problem"]) for trial in document["trials"] if trial["problem"]]
            raise StepFailed(f"no trial could be judged: {problems[0] if problems else 'there was no time for one'}")
        self.place.workspace.write_json(self._path, document)
        return document

    @property
    def metric(self) -> str:
        """The metric of trials."""
        return validation_metric(self.config.publish.gate.metric)

    @property
    def _path(self) -> str:
        return f"{self.place.path}/{DOCUMENT}"

    def _next(self, done: int) -> optuna.Trial:
        config = self.config
        # A sampler of its own for each trial, so that a search that is resumed goes on as one that was not.
        seed = int(digest("tune", config.seed, done), 16) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=config.tune.random_trials)
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not done and not waiting and (own := configured(self.space, config)):
            self.study.enqueue_trial(own, user_attrs={"configured": True})
        return self.study.ask()

    def _attempt(self, trial: optuna.Trial) -> None:
        settings = suggest(trial, self.space, self.config)
        begin = time.perf_counter()
        try:
            config = applied(self.config, settings)
            content = self.material.content(reads(config.train))
            value, fit = judge(config, content, self.material.train, self.material.validation, self._watch(trial))
            if not math.isfinite(value):
                raise StepFailed(f"its {self.metric} on the validation part is no number")
            trial.set_user_attr("epochs", fit.chosen_epochs)
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            value, state = None, TrialState.PRUNED
        except Exception as error:  # settings that cannot be fitted, for whatever reason, are passed over
            trial.set_user_attr("problem", " ".join(f"{type(error).__name__}: {error}".split())[:300])
            value, state = None, TrialState.FAIL
        trial.set_user_attr("seconds", round(time.perf_counter() - begin, 2))
        self.study.tell(trial, value, state=state)
        log.info("%s", line(self._trials()[-1], self.config.tune.trials, self.metric))

    def _watch(self, trial: optuna.Trial) -> OnEpoch | None:
        if not self.config.tune.prune:
            return None

        def on_epoch(epoch: dict[str, float]) -> None:
            if self.metric in epoch:
                trial.report(epoch[self.metric], int(epoch["epoch"]))
                if trial.should_prune():
                    raise optuna.TrialPruned

        return on_epoch

    def _document(self) -> Json:
        config, trials = self.config, self._trials()
        complete = [trial for trial in trials if trial["state"] == "complete"]
        return {
            "run_id": self.place.run_id,
            "path": self._path,
            "metric": self.metric,
            "model": config.train.model,
            "seed": config.seed,
            "wanted_trials": config.tune.trials,
            "space": {name: dimension.described() for name, dimension in self.space.items()},
            "trials": trials,
            # Of equals the first: as configured, where that is one of them.
            "best": max(complete, key=lambda trial: trial["value"], default=None),
            "configured": next((trial for trial in complete if trial["configured"]), None),
        }

    def _trials(self) -> list[Json]:
        return [described(trial) for trial in self.study.get_trials(deepcopy=False) if trial.state in STATES]


def described(trial: FrozenTrial) -> Json:
    """A trial as `tune.json` has it; one that a kill cut short is `interrupted`."""
    noted = trial.user_attrs
    interrupted = trial.state == TrialState.FAIL and "problem" not in noted
    return {
        "number": trial.number,
        "state": "interrupted" if interrupted else STATES[trial.state],
        "settings": dict(sorted(trial.params.items())),
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "epochs": noted.get("epochs"),
        "seconds": noted.get("seconds"),
        "configured": bool(noted.get("configured")),
        "problem": noted.get("problem", ""),
    }


def line(trial: Json, wanted: int, metric: str) -> str:
    """One line for the log."""
    settings = " ".join(f"{name.removeprefix('train.')}={_short(value)}" for name, value in trial["settings"].items())
    result = trial["problem"] or trial["state"] if trial["value"] is None else f"{metric}={trial['value']:.4f}"
    return f"tune trial {trial['number'] + 1}/{wanted} {result} {trial['seconds']} s {settings}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def advice(document: Json) -> str:
    """A finished search's best trial, as `-s` options and, but for a blend's members, as YAML."""
    best, own = document["best"], document["configured"]
    before = f", as configured {own['value']:.4f}" if own else ""
    count, metric = len(document["trials"]), document["metric"]
    lines = [f"best of {count} trials: {metric} on validation {best['value']:.4f}{before}"]
    if best["configured"]:
        return f"{lines[0]}; the settings may stay as they are"
    lines += [f"  -s {name}={json.dumps(value)}" for name, value in best["settings"].items()]
    if any(name.startswith("train.members.") for name in best["settings"]):
        return "\n".join(lines)
    tree: Json = {}
    for name, value in best["settings"].items():
        *parents, last = name.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return "\n".join([*lines, "or in the YAML file:", yaml.safe_dump(tree, sort_keys=True).rstrip()])


def _study(journal: Path, config: Config) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if journal.exists():
        # What a kill or a power cut left: half a line, and the lock of a process that is gone.
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
        journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name="medley",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=config.tune.random_trials),
        load_if_exists=True,
    )


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Holds a lock that ends with the process. Raises StepFailed if another process holds it."""
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StepFailed(f"another process is at this search, {lock.parent}; wait for it to end") from None
        yield
