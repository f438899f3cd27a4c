"""The night: its steps in order, each a module of its name, a verb of the command line and a task of the DAG."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from pipeline.heartbeat import beating
from pipeline.runtime import giving_memory_back

if TYPE_CHECKING:
    from pipeline.config import Config, Modality
    from pipeline.night import Night, StepReceipt


class Step(NamedTuple):
    """One step. help: what its verb does. torchrun: whether several processes may be started for it together."""

    name: str
    help: str
    torchrun: bool = False


STEPS = (
    Step("ingest", "Begin a run: read the source, clean, check, split and stage it."),
    Step("extract", "Encode a modality's buckets into Parquet shards."),
    Step("fuse", "Combine the modalities into one vector per item and per user."),
    Step("train", "Fit the recommender: once to be judged, once to go out.", torchrun=True),
    Step("rerank", "Fit what re-orders each user's best items, where validation finds that to help."),
    Step("evaluate", "Rank the test part and write metrics.json."),
    Step("index", "Build the FAISS index."),
    Step("publish", "Judge the run, replace what is published, write the report."),
)


def perform(night: Night, name: str) -> list[StepReceipt]:
    """Runs one step, for every modality and bucket that it is for. Raises what it raises."""
    with running(night, name):
        return call(night, name)


def call(night: Night, name: str) -> list[StepReceipt]:
    """As `perform`, by the step alone: no heartbeat, and what it has freed is kept."""
    module = import_module(f"pipeline.steps.{name}")
    if name == "extract":
        return [receipt for modality in configured(night.config) for receipt in module.run(night, modality)]
    run: Callable[[Night], StepReceipt] = module.run
    return [run(night)]


@contextmanager
def running(night: Night, name: str) -> Iterator[None]:
    """Around a step, or a part of one: what is done while it runs, and after."""
    with giving_memory_back(), beating(name, night.config.nightly.timeout_seconds):
        yield


def fused(config: Config, run_id: str | None) -> Night:
    """A run with fused vectors: the named one, the newest, or a new one, run up to `fuse`."""
    from pipeline import night as nights
    from pipeline.workspace import Workspace

    known = run_id or nights.newest_with(Workspace(config.workspace), "fuse")
    if known:
        return nights.resume(config, known)
    night = nights.begin(config, None, None)
    for step in STEPS:
        perform(night, step.name)
        if step.name == "fuse":
            break
    return night


def configured(config: Config) -> list[Modality]:
    """The modalities that have an encoder."""
    return list(config.extract.modalities())
