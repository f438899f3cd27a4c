"""Prepare: what an encoder needs to know of the whole catalogue before any bucket is encoded, decided once.

- fit: vocabularies, word vectors and frequencies, from every text;
- adapt: weights fine-tuned on what users chose together in training;
- choose: engine and precision, measured on a sample of the catalogue.

The outcome is an artefact, `encoders/<modality>/<digest>/encoder.json` and what it names, and enters the encoder's key.
It is kept from night to night, or every vector would change with every new item: a new one is made with `--full`, when
the settings change, when the catalogue has doubled since a fit, and when what was adapted saw interactions that
tonight's training part does not hold (a night of the past).
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.artefacts.encoded import NONE, Failure
from pipeline.artefacts.read import FULL, read_json
from pipeline.config import Modality
from pipeline.encoders.base import Encoder, Input, Prepared
from pipeline.encoders.inputs import Inputs, Row
from pipeline.night import Night, StepReceipt
from pipeline.runtime import threads
from pipeline.steps.fits import drop_scratch, fitting
from pipeline.steps.ingest import staged_of
from pipeline.steps.ready import Ready, bucket_rows, ready_of
from pipeline.storage.documents import Json
from pipeline.storage.files import sha256_of
from pipeline.workspace import RECEIPT, digest

log = logging.getLogger("medley")
VERSION = 1
SAMPLE_ROWS = 128
SAMPLE_BUCKETS = 8
GROWTH = 2
CHOICE = "encoder.json"
FITTED = "fitted"


@dataclass(frozen=True)
class Decided:
    """What is read of `encoder.json`, see `Prepared`."""

    fitted: str
    engine: str
    precision: str
    cosine: float


@dataclass(frozen=True)
class Preparation:
    """What was decided for an encoder, and what it rests on, as its receipt notes.

    base: see `base_of`. catalogue_rows: items there were. seen: the end of the training part that it learned from,
    empty where it learned from none. settled: whether it holds however much the catalogue grows. fitted: the digest of
    what was fitted. trials: the engines and precisions that were measured on `machine`. adapt_losses: of each epoch.
    load_seconds: of the encoder, where it was loaded.
    """

    base: str
    catalogue_rows: int
    model: str
    fitted: str
    engine: str
    precision: str
    cosine: float
    seen: list[str] = field(default_factory=list)
    settled: bool = False
    trials: list[Json] = field(default_factory=list)
    machine: str = ""
    adapt_losses: list[float] = field(default_factory=list)
    load_seconds: float = 0.0


def ensure(night: Night, modality: Modality) -> Ready:
    """The night's encoder of a modality, prepared by this run already or now.

    Raises WeightsError, ConfigError or StepFailed as the encoder's making and fitting do.
    """
    known = night.done(step_of(modality))
    if known is not None:
        return ready_of(night, modality, restore(night.workspace.path(known.path)))
    return run(night, modality)[1]


def run(night: Night, modality: Modality) -> tuple[StepReceipt, Ready]:
    """Prepares a modality's encoder, or takes what an earlier night prepared, and leaves a receipt."""
    ready = ready_of(night, modality)
    base = base_of(night, ready.encoder)
    parent, name = f"encoders/{modality}", step_of(modality)
    earlier = None if night.full else _earlier(night, parent, base)
    if earlier:
        receipt = night.step(name, parent, earlier, lambda folder: {})
        ready.encoder.prepared = restore(night.workspace.path(receipt.path))
        return receipt, ready
    build = _undecided if night.dry and _computes(ready) else _build
    receipt = night.content_step(name, parent, lambda folder: build(night, ready, base, folder))
    drop_scratch(night, _fit_key(night, base))
    ready.encoder.prepared = restore(night.workspace.path(receipt.path))
    return receipt, ready


def step_of(modality: Modality) -> str:
    """The name of a modality's preparation among a run's receipts."""
    return f"extract.{modality}.prepare"


def restore(folder: Path) -> Prepared:
    """What `run` decided, from the folder it left. Raises ShardCorrupt if it is not that."""
    choice = read_json(folder / CHOICE, Decided, FULL)
    return Prepared(folder / FITTED, choice["fitted"], choice["engine"], choice["precision"], choice["cosine"])


def _build(night: Night, ready: Ready, base: str, folder: Path) -> Preparation:
    encoder, fitted, settings = ready.encoder, folder / FITTED, ready.inputs.settings
    fitted.mkdir()
    if encoder.fits:
        encoder.fit(_texts(night, ready.inputs), fitted)
    adapts = bool(getattr(settings, "adapt", None))
    losses = _adapt(night, ready, fitted, _fit_key(night, base)) if adapts else []
    encoder.prepared = Prepared(fitted, _digest_of(fitted))
    chosen, trials = _choose(night, ready) if hasattr(settings, "engine") else (encoder.prepared, [])
    choice = {name: getattr(chosen, name) for name in ("fitted", "engine", "precision", "cosine")}
    (folder / CHOICE).write_text(json.dumps({"base": base, **choice}, indent=1, sort_keys=True), "utf-8")
    return Preparation(
        base,
        night.receipt("ingest").rows,
        encoder.model,
        **choice,
        seen=_horizon(night) if adapts else [],
        settled=len(trials) > 1 and not encoder.prepared.fitted,
        trials=trials,
        machine=platform.processor() or platform.machine(),
        adapt_losses=losses,
        load_seconds=round(ready.load_seconds, 3),
    )


def _undecided(night: Night, ready: Ready, base: str, folder: Path) -> Preparation:
    """What stands for the outcome where a night only plans, and deciding takes computing: no shard is of its key."""
    choice: Json = {"fitted": "undecided", "engine": "", "precision": "fp32", "cosine": 1.0}
    (folder / CHOICE).write_text(json.dumps(choice), "utf-8")
    return Preparation(base, 0, ready.encoder.model, **choice)


def _computes(ready: Ready) -> bool:
    """Whether something is fitted, fine-tuned or measured before the first row."""
    settings = ready.inputs.settings
    return ready.encoder.fits or bool(getattr(settings, "adapt", None)) or hasattr(settings, "engine")


def _choose(night: Night, ready: Ready) -> tuple[Prepared, list[Json]]:
    from pipeline.encoders.engine import engine_selection as choose
    from pipeline.encoders.engine import engines
    from pipeline.encoders.engine.network import NetworkEncoder

    encoder = ready.load()
    assert isinstance(encoder, NetworkEncoder)
    sample = _sample(night, ready.inputs)
    if not sample:
        return encoder.prepared, []
    chosen, trials = choose.choose(encoder, sample, night.receipt("ingest").rows)
    if chosen.precision == "int8" and chosen.folder:
        # Another calibration is another network: its file is part of what was fitted.
        chosen = replace(chosen, fitted=_digest_of(chosen.folder))
    # What was chosen is run as it is, so that tonight's vectors are those of any later process.
    encoder.use(engines.make(chosen, encoder.network, encoder.collate(encoder.examples())))
    return chosen, choose.describe(trials)


def _adapt(night: Night, ready: Ready, folder: Path, key: str) -> list[float]:
    """Fine-tunes on the catalogue; the encoder then loads the tuned network. key: of its checkpoint. Returns losses."""
    from pipeline.encoders.engine.network import NetworkEncoder
    from pipeline.encoders.finetune import adapt

    encoder = ready.load()
    assert isinstance(encoder, NetworkEncoder)
    assert encoder.settings.adapt
    pairs = adapt.pairs_of(staged_of(night).read_log().of("train"), encoder.settings.adapt, night.config.seed)
    inputs = ready.inputs
    rows = _rows_of(night, inputs, set(np.unique(pairs).tolist()))

    def first_part(code: int) -> np.ndarray | None:
        decoded = inputs.decode(rows[code])
        return None if isinstance(decoded, Failure) else decoded[0]

    shown = fitting(night, key, f"adapt-{inputs.modality}", encoder.settings.adapt.epochs)
    with ThreadPoolExecutor(threads(night.config)) as pool, shown as context:
        task = adapt.Task(inputs.modality, pairs, lambda codes: list(pool.map(first_part, codes.tolist())), context)
        losses = adapt.train(encoder, task, folder)
    ready.loaded = False
    return losses


def _fit_key(night: Night, base: str) -> str:
    """The name of the fine-tuning checkpoint, one for each snapshot."""
    return digest("adapt", base, night.receipt("ingest").digest)


def _rows_of(night: Night, inputs: Inputs, codes: set[int]) -> dict[int, Row]:
    """The rows of some items, by their position in the catalogue."""
    chosen: dict[int, Row] = {}
    start = 0
    for bucket in _buckets(night):
        rows = bucket_rows(night, inputs, bucket)
        chosen |= {start + at: rows[at] for at in range(len(rows)) if start + at in codes}
        start += len(rows)
    return chosen


def base_of(night: Night, encoder: Encoder) -> str:
    """What a decision rests on, apart from the catalogue."""
    settings = getattr(encoder, "settings", None)
    running = {name: getattr(settings, name, None) for name in ("engine", "precision", "min_cosine")}
    split = night.config.ingest if getattr(settings, "adapt", None) else None
    return digest("prepare", VERSION, encoder.identity, running, night.config.seed, split)


def _earlier(night: Night, parent: str, base: str) -> str | None:
    """The name of the newest artefact that was decided on the same base and still holds."""
    receipts = night.workspace.changed(f"{parent}/*/{RECEIPT}")
    for name in sorted(receipts, key=lambda receipt: receipts[receipt], reverse=True):
        artefact = night.workspace.artefact(name.removesuffix(f"/{RECEIPT}"))
        if artefact and artefact.details["base"] == base and _holds(night, Preparation(**artefact.details)):
            return Path(name).parent.name
    return None


def _holds(night: Night, earlier: Preparation) -> bool:
    grown = night.receipt("ingest").rows > GROWTH * earlier.catalogue_rows and not earlier.settled
    return not grown and all(then <= now for then, now in zip(earlier.seen, _horizon(night), strict=False))


def _horizon(night: Night) -> list[str]:
    """The end of tonight's training part: nothing fitted on later data may be used."""
    return [night.as_of.isoformat(), staged_of(night).summary.validation_cut or ""]


def _digest_of(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest([(str(path.relative_to(folder)), sha256_of(path)) for path in files]) if files else ""


def _buckets(night: Night) -> range:
    return range(staged_of(night).summary.buckets)


def _texts(night: Night, inputs: Inputs) -> Iterator[str]:
    for bucket in _buckets(night):
        rows = bucket_rows(night, inputs, bucket)
        for source in rows.sources[rows.hashes != NONE]:
            yield inputs.encoder.render(source)


def _sample(night: Night, inputs: Inputs) -> list[Input]:
    """Usable items from all over the catalogue, the same ones every time."""
    buckets = _buckets(night)
    chosen = list(buckets)[:: max(1, len(buckets) // SAMPLE_BUCKETS)][:SAMPLE_BUCKETS]
    sample: list[Input] = []
    for at, bucket in enumerate(chosen):
        rows = bucket_rows(night, inputs, bucket)
        usable = np.flatnonzero(rows.hashes != NONE)
        wanted = (SAMPLE_ROWS - len(sample)) // (len(chosen) - at)
        decoded = (inputs.decode(rows[place]) for place in usable[:: max(1, len(usable) // max(1, wanted))])
        sample += islice((part for part in decoded if not isinstance(part, Failure)), wanted)
    return sample
