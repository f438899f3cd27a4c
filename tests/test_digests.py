"""A setting changes the digests of the steps that read it, and of no other; one that changes none is said to be so."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import pytest

from pipeline.config import Config, leaves
from pipeline.encoders import make
from pipeline.errors import ConfigError, MedleyError
from pipeline.night import Night
from tests.golden.cases import ENCODERS, FUSIONS, MODELS, TOLD, TinyNight

# The steps whose own digest a setting changes, by the longest beginning of its path that stands here; what a step makes
# of another's changed output is not meant. Settings of no step are of running, showing and publishing.
READ_BY: dict[str, tuple[str, ...]] = {
    "": (),
    "seed": ("extract", "fuse", "train", "rerank", "evaluate", "index"),
    # A published index names the encoders of its queries.
    "extract.": ("extract", "index"),
    "extract.text.batch_tokens": (),
    **{f"extract.{modality}.batch_rows": () for modality in ENCODERS},
    # What an engine is chosen by is settled once, before a query's encoder is named.
    **{
        f"extract.{modality}.{name}": ("extract",)
        for modality in ENCODERS
        for name in ("engine", "precision", "min_cosine")
    },
    "fuse.": ("fuse",),
    "train.": ("train",),
    "rerank.": ("rerank",),
    "evaluate.": ("evaluate",),
    "evaluate.validation_users": ("train", "evaluate"),
    # They decide on which nights validation chooses, and what is left out.
    "evaluate.settled_nights": (),
    "evaluate.baseline_seconds": (),
    "index.": ("index",),
    # What goes out is re-ordered whole.
    "index.recommendations": ("rerank", "index"),
    # Validation chooses by the gate's metric.
    "publish.gate.metric": ("train", "rerank", "evaluate"),
    "publish.gate.segment": ("evaluate",),
    "publish.gate.baseline": ("evaluate",),
}
# Settings of any encoder or model that change how it is run, and nothing that it gives; or what of an item it reads, of
# which the hash tells that staging gives the item.
KINDS = ("kind", "model", "encoder")
# Settings that name a file, which is known by its content.
FILES = ("weights", "sha256", "gguf_file", "tuning")
RUNNING = (
    "max_error_rate",
    "max_bytes",
    "lists",
    "auto_above_seconds",
    "processes",
    "tensorboard",
    "checkpoint_seconds",
    "warm_start",
)
PLANNED = ("fuse", "train", "rerank", "evaluate", "index")
# Values of settings whose type does not tell another one.
VALUES: dict[str, Any] = {
    "publish.gate.metric": "recall@10",
    "publish.gate.segment": "cold",
    "publish.gate.baseline": "random",
    # Above what goes out, which is re-ordered in any case.
    "rerank.candidates": 50,
    "tune.space": {"width": [8, 16]},
    "nightly.queues": {"train": "gpu"},
}


class Planned(Exception):
    """What a step would write."""


@dataclass(frozen=True)
class Planning(Night):
    """A night whose steps say what they would write, and write nothing."""

    def _perform(self, name: str, path: str, *_: Any, **__: Any) -> NoReturn:
        raise Planned(path)


def digests(night: Night, config: Config) -> dict[str, object]:
    """What each step after `ingest` would be named by, from what the night has already."""
    planning = Planning(config, night.workspace, night.run_id, night.as_of)
    names: dict[str, object] = {step: planned(planning, step) for step in PLANNED}
    prepare = import_module("pipeline.steps.prepare")
    return names | {"extract": [prepare.base_of(planning, make(config, modality)) for modality in ENCODERS]}


def planned(night: Planning, step: str) -> str:
    try:
        import_module(f"pipeline.steps.{step}").run(night)
    except Planned as plan:
        return str(plan)
    raise AssertionError(f"{step} did not ask to be named")


def others(path: str, schema: dict[str, Any]) -> Iterator[Any]:
    """Values that are not a setting's own."""
    value = schema["default"]
    if path in VALUES:
        yield VALUES[path]
    for part in (schema, *schema.get("anyOf", ())):
        yield from (option for option in part.get("enum", ()) if option != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value * 2, value / 2 + 0.1, value / 2, value - 1)
    elif isinstance(value, str):
        yield f"{value}x"
    elif isinstance(value, list) and len(value) > 1:
        yield value[:-1]
    elif isinstance(value, list):
        yield from ([other] for other in others(path, {"default": value[0] if value else "x"}))
    elif isinstance(value, dict):
        yield {**value, "text": 0.5}


def changed(config: Config, path: str, schema: dict[str, Any]) -> Iterator[Config]:
    """The configuration with other values of one setting, those that are allowed."""
    for value in others(path, schema):
        document = config.model_dump(mode="json")
        *parents, last = path.split(".")
        section: Any = document
        for parent in parents:
            section = section[int(parent)] if isinstance(section, list) else section[parent]
        section[last] = copy.deepcopy(value)
        try:
            other = Config.model_validate(document)
        except (ValueError, ConfigError):
            continue
        if other != config:
            yield other


def expected(path: str) -> set[str]:
    if path.rpartition(".")[2] in RUNNING:
        return set()
    return set(READ_BY[max((prefix for prefix in READ_BY if path.startswith(prefix)), key=len)])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyNight:
    """A night that has done everything but publish."""
    night = TinyNight(tmp_path_factory.mktemp("digests"))
    night.folder("index")
    return night


def is_told(path: str) -> bool:
    """Whether a setting can have another value here: not one of a file, of several processes, or of a blend's part."""
    *parents, name = path.split(".")
    part_of_running = name in RUNNING and parents[-1].isdigit()
    return not (path.startswith(("source.", "ingest.")) or name in (*KINDS, *FILES, "processes") or part_of_running)


def wrong(tiny: TinyNight, below: str, **sections: Any) -> dict[str, str]:
    """The settings below a path that change other digests than they should."""
    config = tiny.configured(sections)
    before, faults = digests(tiny.night, config), {}
    for path, schema in leaves(config):
        if path.startswith(below) and is_told(path):
            after = first_digests(tiny.night, changed(config, path, schema))
            changes = {step for step in before if after[step] != before[step]} if after else {"no other value is known"}
            if changes != expected(path):
                faults[path] = f"changes {sorted(changes)}, and should {sorted(expected(path))}"
    return faults


def first_digests(night: Night, configs: Iterator[Config]) -> dict[str, object]:
    """The digests of the first configuration that can be run; none, if there is none."""
    for config in configs:
        try:
            return digests(night, config)
        except (MedleyError, ValueError):
            continue
    return {}


def test_every_setting_changes_what_reads_it(tiny: TinyNight) -> None:
    faults = wrong(tiny, "")
    assert not faults, "\n".join(f"{path} {fault}" for path, fault in faults.items())


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_fusions_settings_change_its_digest(tiny: TinyNight, kind: str) -> None:
    assert wrong(tiny, "fuse.", fuse={"kind": kind}) == {}


@pytest.mark.parametrize("model", MODELS)
def test_a_models_settings_change_its_digest(tiny: TinyNight, model: str) -> None:
    assert wrong(tiny, "train.", train={"model": model, **TOLD.get(model, {})}) == {}


@pytest.mark.parametrize(
    ("modality", "kind"), [(modality, kind) for modality, kinds in ENCODERS.items() for kind in kinds]
)
def test_an_encoders_settings_change_its_digest(tiny: TinyNight, modality: str, kind: str) -> None:
    extract = {**tiny.base["extract"], modality: ENCODERS[modality][kind]}
    assert wrong(tiny, f"extract.{modality}.", extract=extract) == {}
