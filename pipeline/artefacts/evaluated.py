"""What `evaluate` leaves, `metrics.json`: each model's metrics by segment, and their comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.artefacts.read import read_json
from pipeline.storage.documents import Json

FILE = "metrics.json"
# Metric to `mean`, `low`, `high` and `users`.
Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluated:
    """The outcome of one evaluation.

    test: segment to model to metrics. trained: the model whose list is published; beside it there is
    `first_stage` where that list is re-ordered. paired, ablation, ranker: see `steps.evaluate`; empty where there is
    none. notes: by model, what a reader of its figures has to know, or why it has none.
    """

    test: Mapping[str, Mapping[str, Metrics]]
    trained: str
    paired: Json = field(default_factory=dict)
    ablation: Json = field(default_factory=dict)
    ranker: Json = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes `metrics.json`."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), "utf-8")

    @staticmethod
    def read(folder: Path) -> Evaluated:
        """What `write` wrote. Raises ShardCorrupt if it is gone or not that."""
        document = read_json(folder / FILE, Evaluated)
        return Evaluated(**{name: document[name] for name in Evaluated.__dataclass_fields__ if name in document})
