"""Chooses engine and precision for a network: by the clock, and by cosine to fp32 on the catalogue's own items.

- torch in fp32 is timed first; where it would encode the whole catalogue in less than `auto_above_seconds`, it stays;
- every engine and precision that this machine can run is timed on a sample, its vectors compared with fp32's;
- int8 is calibrated where what is fastest so far still takes longer than that, on one half of the sample, and measured
  on the other; it keeps in fp32 the layers that cost most accuracy, as many as `min_cosine` needs;
- the fastest that keeps `min_cosine` is taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.shared import Network
from pipeline.encoders.base import Input, Prepared, Vectors
from pipeline.encoders.engine import engines, sensitivity
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.errors import StepFailed
from pipeline.storage.documents import Json

log = logging.getLogger("medley")
CALIBRATION_BATCHES = 16
ROWS_PER_BATCH = 4
# A faster engine must be faster by this much: what differs less is the machine's noise.
GAIN = 1.1
REPEATS = 3
FEW = 12
# int8 is tried with as many layers kept in fp32 as leave this share of the loss that min_cosine allows, as predicted,
# and with these shares of all layers, where the prediction is too dark.
ALLOWED = (1.0, 0.6, 0.3)
KEPT_SHARES = (1 / 8, 1 / 4, 1 / 2)


@dataclass(frozen=True)
class Trial:
    """One engine and precision on the sample: its speed and its mean and lowest cosine to fp32.

    kept: the number of layers left in fp32.
    """

    engine: str
    precision: str
    rows_per_second: float
    cosine: float
    lowest_cosine: float
    kept: int = 0

    def __str__(self) -> str:
        """One line for the night's log."""
        layers = f" with {self.kept} layers in fp32" if self.kept else ""
        cosines = f"cosine mean={self.cosine:.5f} lowest={self.lowest_cosine:.5f}"
        return f"engine {self.engine} {self.precision}{layers}: {self.rows_per_second:.1f} rows/s {cosines}"


def choose(encoder: NetworkEncoder, sample: Sequence[Input], rows: int) -> tuple[Prepared, list[Trial]]:
    """The engine and precision for a loaded encoder that will encode `rows` items like those of the sample.

    Returns what was chosen and every trial; a calibrated int8 network is written to the encoder's prepared folder.
    Raises StepFailed if a precision that the settings demand does not keep `min_cosine`, or nothing can run it.
    """
    settings, prepared = encoder.settings, encoder.prepared
    encoder.use(engines.torch_engine(encoder.network, "fp32"))
    auto = settings.engine == settings.precision == "auto"
    if auto and rows / _first_speed(encoder, sample) < settings.auto_above_seconds:
        return prepared, []
    trials = _Trials(encoder, sample, rows, _unit(encoder.embed(sample)))
    trials.run()
    for trial in trials.done:
        log.info("%s", trial)
    best = best_of(settings, trials.done)
    if best.precision != "int8":
        for file in trials.folder.glob("int8.*"):
            file.unlink()
    return replace(prepared, engine=best.engine, precision=best.precision, cosine=round(best.cosine, 4)), trials.done


def best_of(settings: Network, trials: Sequence[Trial]) -> Trial:
    """The fastest trial that the settings allow; of the nearly equal ones the most exact.

    Raises StepFailed if there is none, or none keeps `min_cosine`.
    """
    allowed = [t for t in trials if settings.engine in ("auto", t.engine)]
    allowed = [t for t in allowed if settings.precision in ("auto", t.precision)]
    if not allowed:
        raise StepFailed(
            f"no engine here runs {settings.engine} in {settings.precision}; let engine or precision be auto"
        )
    good = [trial for trial in allowed if trial.cosine >= settings.min_cosine]
    if not good:
        closest = max(allowed, key=lambda trial: trial.cosine)
        raise StepFailed(
            f"{closest.engine} in {closest.precision} keeps a mean cosine of {closest.cosine:.6f} to fp32, below "
            f"min_cosine {settings.min_cosine}; lower min_cosine, or choose another precision"
        )
    fastest = max(good, key=lambda trial: trial.rows_per_second)
    near = [trial for trial in good if trial.rows_per_second * GAIN >= fastest.rows_per_second]
    return max(near, key=lambda trial: (trial.cosine, trial.rows_per_second))


def describe(trials: Sequence[Trial]) -> list[Json]:
    """Trials as a receipt notes them."""
    return [{k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(trial).items()} for trial in trials]


@dataclass
class _Trials:
    """Tries engines on a sample, `reference` being its unit vectors by torch in fp32."""

    encoder: NetworkEncoder
    sample: Sequence[Input]
    rows: int
    reference: Vectors
    done: list[Trial] = field(default_factory=list)
    kept: int = 0

    @property
    def folder(self) -> Path:
        return self.encoder.prepared.folder or Path()

    def run(self) -> None:
        self.done.append(Trial("torch", "fp32", _speed(self.encoder, self.sample), 1.0, 1.0))
        for engine, precision in self._candidates():
            self._try(engine, precision)

    def _candidates(self) -> Iterator[tuple[str, str]]:
        """Engines and their precisions."""
        settings = self.encoder.settings
        cuda = engines.device() == "cuda"
        worth = ("fp32", "bf16") if engines.computes_bf16() else ("fp32",)
        precisions = worth if settings.precision == "auto" else ("fp32", settings.precision)
        exact = [precision for precision in precisions if precision != "int8"]
        if settings.engine in ("auto", "torch") and "bf16" in exact:
            yield "torch", "bf16"
        if settings.engine == "torch_compile" or (settings.engine == "auto" and cuda):
            yield from (("torch_compile", precision) for precision in exact)
        if settings.engine not in ("auto", "openvino") or cuda:
            return
        yield from (("openvino", precision) for precision in exact)
        if self._wants_int8():
            yield "openvino", "int8"

    @cached_property
    def _model(self) -> Any:
        """Converted when first tried: a network that cannot be is passed over like any other that does not run."""
        return engines.to_openvino(self.encoder.network, self.encoder.collate(self.encoder.examples()))

    def _made(self, engine: str, precision: str) -> engines.Engine:
        if engine != "openvino":
            return engines.torch_engine(self.encoder.network, precision, engine == "torch_compile")
        return self._int8(self._model) if precision == "int8" else engines.openvino_engine(self._model, precision)

    def _wants_int8(self) -> bool:
        settings = self.encoder.settings
        seconds = self.rows / max(trial.rows_per_second for trial in self.done)
        return settings.precision == "int8" or (settings.precision == "auto" and seconds >= settings.auto_above_seconds)

    def _try(self, engine: str, precision: str) -> None:
        self.kept = 0
        try:
            self.encoder.use(self._made(engine, precision))
            vectors = _unit(self.encoder.embed(self.sample))
        except Exception as error:  # an engine that cannot run a network says so in its own way, and is passed over
            reason = " ".join(str(error).split())[:200]
            log.info("engine %s in %s cannot run this network: %s", engine, precision, reason)
            return
        cosines = self._cosines(vectors, precision)
        quality = (_speed(self.encoder, self.sample), float(cosines.mean()), float(cosines.min()))
        self.done.append(Trial(engine, precision, *quality, self.kept))

    def _int8(self, model: Any) -> engines.Engine:
        """The quantised network, written to the folder too."""
        batches = self._calibration()
        wanted = self.encoder.settings.min_cosine
        quantised = engines.quantise(model, batches, self.encoder.transformer)
        if self._cosine(quantised) < wanted:
            quantised = self._protected(model, quantised, batches)
        engines.save_quantised(quantised, self.folder)
        return engines.openvino_engine(quantised, "int8")

    def _protected(self, model: Any, quantised: Any, batches: list[engines.Batch]) -> Any:
        """int8 with the fewest layers in fp32, of the numbers that are tried, that keeps the wanted cosine."""
        wanted = self.encoder.settings.min_cosine
        losses = sensitivity.losses(self.encoder.network, batches)
        ranked = sorted(losses, key=lambda name: -losses[name])
        predicted = [sensitivity.least_kept(losses, share * (1 - wanted)) for share in ALLOWED]
        shares = [round(share * len(ranked)) for share in KEPT_SHARES]
        for count in sorted({count for count in (*predicted, *shares) if 0 < count <= max(shares)}):
            names = engines.operations_of(model, ranked[:count])
            quantised, self.kept = engines.quantise(model, batches, self.encoder.transformer, names), count
            if self._cosine(quantised) >= wanted:
                break
        return quantised

    def _cosines(self, vectors: Vectors, precision: str) -> Vectors:
        """To fp32; of a calibrated network on the items alone that it was not calibrated on, which it suits best."""
        cosines: Vectors = (vectors * self.reference).sum(axis=1)
        return cosines[1::2] if precision == "int8" and len(cosines) > 1 else cosines

    def _calibration(self) -> list[engines.Batch]:
        parts = [part for parts_of_item in self.sample[::2] for part in parts_of_item]
        step = max(1, len(parts) // (ROWS_PER_BATCH * CALIBRATION_BATCHES))
        chosen = sorted(parts[::step], key=self.encoder.cost)
        cuts = range(0, len(chosen), ROWS_PER_BATCH)
        return [self.encoder.collate(chosen[at : at + ROWS_PER_BATCH]) for at in cuts]

    def _cosine(self, model: Any) -> float:
        self.encoder.use(engines.openvino_engine(model, "int8"))
        return float(self._cosines(_unit(self.encoder.embed(self.sample)), "int8").mean())


def _first_speed(encoder: NetworkEncoder, sample: Sequence[Input]) -> float:
    """Items a second, roughly: enough to know whether measuring is worth its time."""
    few = sample[:: max(1, len(sample) // FEW)]
    encoder.embed(few[:2])
    begin = time.perf_counter()
    encoder.embed(few)
    return len(few) / (time.perf_counter() - begin)


def _speed(encoder: NetworkEncoder, sample: Sequence[Input]) -> float:
    """Items a second, the best of a few runs: the first compiles and fills caches."""
    encoder.embed(sample[: max(1, len(sample) // 8)])
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        encoder.embed(sample)
        seconds.append(time.perf_counter() - begin)
    return len(sample) / min(seconds)


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
