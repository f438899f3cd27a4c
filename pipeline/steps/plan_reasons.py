"""Why a step would be computed: what, put back to how it was on an earlier night, gives its outcome another name.

Names are asked of the steps themselves, so that a reason is never another than the step's own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.artefacts.retries import FOLDER
from pipeline.artefacts.runs import StepReceipt, receipts_of
from pipeline.artefacts.staged import SHOWN, USERS, Staged
from pipeline.config import MODALITIES, Config, Modality
from pipeline.config.differences import differing, name_of
from pipeline.config.shared import Array
from pipeline.errors import MedleyError
from pipeline.night import Night
from pipeline.steps.ingest import staged_of
from pipeline.steps.plan_changes import Changes, changes, counted
from pipeline.steps.plan_dry import NAMED, named, suppose
from pipeline.steps.prepare import base_of, ensure
from pipeline.steps.ready import bucket_rows
from pipeline.storage.documents import Json
from pipeline.workspace import digest

FULL, VERSION = "--full", "another version of Medley"
GONE = "what an earlier night made is gone, or of another version of Medley"
Supposed: TypeAlias = Mapping[str, StepReceipt | None]


@dataclass(frozen=True)
class Setting:
    """A setting that is another tonight. put_back: tonight's configuration with the earlier value."""

    name: str
    put_back: Config


@dataclass(frozen=True)
class Earlier:
    """The night that tonight is compared with, whose receipts are in `before`; `tonight` has foreseen every step."""

    tonight: Night
    run_id: str
    before: Mapping[str, StepReceipt]

    @classmethod
    def of(cls, tonight: Night, run_id: str) -> Earlier:
        """Of a run of the workspace."""
        receipts = receipts_of(tonight.workspace.path("runs", run_id))
        return cls(tonight, run_id, {receipt.step: receipt for receipt in receipts})

    @cached_property
    def changes(self) -> Changes | None:
        """What differs in the source; None where the earlier snapshot is gone."""
        if self._staged is None:
            return None
        spill = self.tonight.workspace.path(".tmp", "changes")
        return changes(self._staged, staged_of(self.tonight), self.tonight.config, spill)

    def why(self, step: str) -> list[str]:
        """Why a step would be computed, `extract.<modality>` being one."""
        if self.tonight.full:
            return [FULL]
        name, _, modality = step.partition(".")
        reasons = self._of_modality(modality) if modality else self._of_step(name)
        return list(dict.fromkeys(reasons)) or [self._without_change(step)]

    def _of_step(self, step: str) -> Iterator[str]:
        tonight = self._named(step)

        def differs(supposed: Supposed, config: Config | None = None) -> bool:
            return self._named(step, supposed, config) not in ("", tonight)

        for setting in self._settings:
            # A modality that is new, or gone, is put back with what was made of it.
            modality = setting.name if setting.name.count(".") == 1 and setting.name.startswith("extract.") else None
            if differs(self._of(modality) if modality else {}, setting.put_back):
                yield f"settings changed: {setting.name}"
        if differs(self._of("ingest")):
            yield self._source()
        modalities = (f"extract.{modality}" for modality in self.tonight.config.extract.modalities())
        for earlier in (*modalities, *NAMED[: NAMED.index(step)]):
            if differs(self._of(earlier)):
                yield f"{earlier} is computed again"

    def _of_modality(self, modality: Modality) -> Iterator[str]:
        tonight, configured = self._meaning(modality, self.tonight.config), self.tonight.config.extract.modalities()
        for setting in self._settings:
            if self._meaning(modality, setting.put_back) not in ("", tonight):
                yield f"settings changed: {setting.name}"
        others = {*MODALITIES, *configured} - {modality}

        def is_read(column: str) -> bool:
            return column not in others and (modality == "text" or column == modality)

        if self.changes and (said := self.changes.catalogue(is_read)):
            yield said
        if modality == "text" and self._differs(USERS):
            yield "profiles changed"
        own = [receipt for name, receipt in self.before.items() if name.startswith(f"extract.{modality}.bucket-")]
        if not own:
            yield f"settings changed: extract.{modality}"
        if again := sum(receipt.details.get("transient_rows", 0) for receipt in own):
            yield f"{counted(again, 'row')} that failed for a reason of the machine"
        asked = (Path(name).stem for name in self.tonight.workspace.changed(f"{FOLDER}/{modality}/*.parquet"))
        if max(asked, default="") > min((str(receipt.details.get("retried", "")) for receipt in own), default=""):
            yield "rows that `medley errors --retry` asked for"

    def _without_change(self, step: str) -> str:
        """Why what an unchanged night made is not there."""
        name, _, modality = step.partition(".")
        if modality:
            given = isinstance(self.tonight.config.extract.modalities()[modality], Array)
            return "given vectors changed" if given else GONE
        earlier = self.before.get(name)
        if earlier is None:
            return "the earlier night did not come so far"
        config = Config.model_validate(self._config) if self._config else None
        return GONE if self._named(name, self._of(""), config) == earlier.path else VERSION

    def _source(self) -> str:
        if self._differs("interactions"):
            said = self.changes.log if self.changes else ""
            return said or "log: the same choices in other parts"
        if self._differs(SHOWN):
            return "what was shown changed"
        return (self.changes.catalogue() if self.changes else "") or "catalogue: changed"

    def _differs(self, *names: str) -> bool:
        before = self._staged
        return before is None or before.digest(*names) != staged_of(self.tonight).digest(*names)

    def _of(self, step: str) -> Supposed:
        """The earlier receipts of a step and its parts; of all for an empty name."""
        return {name: own for name, own in self.before.items() if not step or f"{name}.".startswith(f"{step}.")}

    def _named(self, step: str, supposed: Supposed | None = None, config: Config | None = None) -> str:
        return named(suppose(self.tonight, {**(supposed or {}), step: None}, config), step)

    def _meaning(self, modality: Modality, config: Config) -> str:
        """A digest of what an encoder is, is decided by, and reads of an item; empty if it cannot be said."""
        night = suppose(self.tonight, {}, config)
        try:
            inputs = ensure(night, modality).inputs
            rows = next(filter(len, (bucket_rows(night, inputs, b) for b in range(staged_of(night).summary.buckets))))
            return digest(base_of(night, inputs.encoder), rows.hashes.tobytes())
        except (MedleyError, KeyError, StopIteration):
            return ""

    @cached_property
    def _staged(self) -> Staged | None:
        receipt = self.before.get("ingest")
        if receipt is None or self.tonight.workspace.artefact(receipt.path) is None:
            return None
        return Staged(self.tonight.workspace.path(receipt.path))

    @cached_property
    def _config(self) -> Json:
        run = self.tonight.workspace.read_json(f"runs/{self.run_id}/run.json") or {}
        return run.get("config", {})

    @cached_property
    def _settings(self) -> list[Setting]:
        document = self.tonight.config.model_dump(mode="json")
        settings = []
        for path in differing(self._config, document):
            try:
                settings.append(Setting(name_of(path, self._config, document), _put_back(document, self._config, path)))
            except (ValueError, MedleyError):
                continue
        return settings


def _put_back(document: Json, before: Json, path: tuple[str, ...]) -> Config:
    """Raises ValueError or ConfigError if the earlier value does not go with tonight's others."""
    whole = copy.deepcopy(document)
    target: Any = whole
    for name in path[:-1]:
        target, before = target[name], before[name]
    if path[-1] in before:
        target[path[-1]] = before[path[-1]]
    else:
        target.pop(path[-1])
    return Config.model_validate(whole)
