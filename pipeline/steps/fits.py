"""What a step's fits run with: the folder of their checkpoints, and progress displays.

- a step that is killed finds its fits' checkpoints under `.tmp/fit-KEY` again, and removes them once it is done;
- epochs are shown by a bar on a terminal, and in `runs/RUN_ID/tensorboard`: `tensorboard --logdir WORKSPACE/runs`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.artefacts.log import Log
from pipeline.evaluation.metrics import validation_metric
from pipeline.interactions import Interactions
from pipeline.night import Night
from pipeline.runtime import threads
from pipeline.training.context import Context, OnEpoch, Scratch
from pipeline.training.progress import watched


def metric_of(night: Night) -> str:
    """The metric on validation: the gate's, see `validation_metric`."""
    return validation_metric(night.config.publish.gate.metric)


def validation_of(night: Night, log: Log) -> Interactions:
    """The validation part, of no more users than `evaluate.validation_users`: what is chosen by, in every fit alike."""
    return log.of("validation").sample_users(night.config.evaluate.validation_users, night.config.seed)


def scratch_folder(night: Night, key: str) -> Path:
    """The folder of a step's checkpoints. key: what names the step's artefact."""
    return night.workspace.path(".tmp", f"fit-{key}")


def drop_scratch(night: Night, key: str) -> None:
    """Removes the checkpoints of a step that is done."""
    shutil.rmtree(scratch_folder(night, key), ignore_errors=True)


@contextmanager
def shown(night: Night, name: str, epochs: int) -> Iterator[OnEpoch]:
    """Shows a fit's epochs. name: of the fit, in the folder of event files too."""
    events = night.workspace.path(night.folder, "tensorboard", name) if night.config.train.tensorboard else None
    with watched(f"{name} fit", epochs, events) as on_epoch:
        yield on_epoch


@contextmanager
def fitting(night: Night, key: str, name: str, epochs: int) -> Iterator[Context]:
    """A fit's context, while it is shown. key: as in `scratch_folder`."""
    scratch = Scratch(scratch_folder(night, key) / f"{name}.safetensors", night.config.train.checkpoint_seconds)
    with shown(night, name, epochs) as on_epoch:
        running = night.config.seed, threads(night.config)
        yield Context(*running, scratch=scratch, on_epoch=on_epoch, metric=metric_of(night))
