"""What steps would take tonight, in seconds, by the receipts of past nights; none is made up where there are none.

- a row is taken for what one took once the encoder was loaded, and loading for what it took last;
- any other step is taken for what it took when it was computed last, times the growth of the log or the catalogue;
- a night that keeps the settings that an earlier one chose is spared the search, and the baselines that were beaten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.artefacts.model import FitDetails
from pipeline.artefacts.runs import StepReceipt, receipts_of, runs, total
from pipeline.artefacts.tries import CHOSEN
from pipeline.config import Modality
from pipeline.night import Night
from pipeline.steps.baselines import beaten, kept_of
from pipeline.steps.encoding import Encoding
from pipeline.steps.extract import COPY_SECONDS, Plan, seconds_a_row
from pipeline.steps.plan_dry import suppose
from pipeline.steps.prepare import step_of
from pipeline.steps.warm_start import Kept, planned

# What the time of a step grows with; the log, where nothing else is said.
BY_ITEMS = frozenset({"fuse", "index"})


@dataclass(frozen=True)
class Costs:
    """The seconds of a night's steps. tonight: has foreseen every step."""

    tonight: Night

    def of_step(self, step: str) -> float | None:
        """Of a step that would be computed, None where no past night has."""
        if step == "ingest":
            return self.tonight.receipt("ingest").seconds
        computed = [receipts for receipts in self._past if step in receipts and not receipts[step].skipped]
        alike = [receipts for receipts in computed if step not in self._kept or self._keeps_as(receipts[step])]
        for receipts in alike or computed:
            own = total(step, [receipt for name, receipt in receipts.items() if f"{name}.".startswith(f"{step}.")])
            seconds = own.seconds - (0.0 if alike else self._spared(step, receipts[step]))
            return seconds * self._growth(step, receipts.get("ingest"))
        return None

    def of_modality(self, modality: Modality, plan: Plan) -> float | None:
        """Of a modality, with what comes before its rows; None where its encoder is made as no past night has."""
        encoding = Encoding(self.tonight, plan.ready)
        seconds = plan.fresh * self._a_row(encoding) + len(plan.seconds) * COPY_SECONDS
        prepare = self.tonight.receipt(step_of(modality))
        if not prepare.skipped:
            past = self.of_step(prepare.step) if self._by_model(encoding) else None
            return None if past is None else seconds + past
        return seconds + (self._loading(encoding) if plan.fresh else 0.0)

    def _a_row(self, encoding: Encoding) -> float:
        """What a row takes; of an encoder that is to be made, what one took by the model before."""
        if self.tonight.receipt(step_of(encoding.ready.inputs.modality)).skipped:
            return seconds_a_row(self.tonight, encoding)
        made = self._by_model(encoding)
        seconds = sum(each.seconds - each.details.get("load_seconds", 0.0) for each in made)
        return seconds / sum(each.encoded_rows for each in made) if made else encoding.ready.encoder.seconds_a_row

    def _by_model(self, encoding: Encoding) -> list[StepReceipt]:
        """The buckets of the newest night that the model of tonight's encoder has encoded; none if it never has."""
        for receipts in self._past:
            own = (each for name, each in receipts.items() if name.startswith(encoding.bucket_steps))
            made = [each for each in own if each.encoded_rows and each.details["model"] == encoding.ready.encoder.model]
            if made:
                return made
        return []

    def _loading(self, encoding: Encoding) -> float:
        """What loading an encoder took last."""
        modality, key = encoding.ready.inputs.modality, encoding.ready.encoder.key
        prepared = self.tonight.receipt(step_of(modality)).path
        for receipts in self._past:
            own = (
                each for each in receipts.values() if not each.skipped and each.step.startswith(f"extract.{modality}.")
            )
            seconds = [
                float(each.details.get("load_seconds", 0.0))
                for each in own
                if each.path == prepared or f"/{modality}/{key}/" in each.path
            ]
            if any(seconds):
                return max(seconds)
        return 0.0

    @cached_property
    def _kept(self) -> Mapping[str, Kept]:
        """By step, the settings that tonight takes from an earlier night."""
        if self.tonight.full:
            return {"train": {}, "evaluate": {}}
        night = suppose(self.tonight, {"train": None, "evaluate": None})
        return {"train": planned(night, lambda _: False).kept, "evaluate": kept_of(night, lambda _: False)}

    def _keeps_as(self, past: StepReceipt) -> bool:
        """Whether a step took settings that a night before had chosen, just as tonight's does."""
        return any(own["nights"] for own in past.details.get("settled", {}).values()) == bool(self._kept[past.step])

    def _spared(self, step: str, past: StepReceipt) -> float:
        """What tonight need not do of what a step did on a night that chose its settings."""
        kept = self._kept.get(step, {})
        if step == "train" and kept:
            details = past.noted(FitDetails)
            chosen = sum(tried.seconds for name, tried in details.tries.items() if tried.weight and name != CHOSEN)
            return details.fit_seconds["evaluated"] - (chosen or details.fit_seconds["published"])
        if step == "evaluate" and kept:
            seconds = past.details.get("beside_seconds", {})
            return float(sum(seconds.get(name, 0.0) for name in beaten(self.tonight, kept)))
        return 0.0

    def _growth(self, step: str, past: StepReceipt | None) -> float:
        now = self.tonight.receipt("ingest")
        if past is None:
            return 1.0
        sizes = (now.rows, past.rows) if step in BY_ITEMS else (_choices(now), _choices(past))
        return sizes[0] / max(sizes[1], 1)

    @cached_property
    def _past(self) -> list[Mapping[str, StepReceipt]]:
        """The receipts of past nights by step, the newest night first."""
        names = [str(run["run_id"]) for run in reversed(runs(self.tonight.workspace))]
        folders = (self.tonight.workspace.path("runs", name) for name in names)
        return [{receipt.step: receipt for receipt in receipts_of(folder)} for folder in folders]


def _choices(ingested: StepReceipt) -> int:
    return sum(ingested.details["parts"].values())
