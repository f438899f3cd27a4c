"""What `rerank` leaves in `reranked/<digest>/`: whether lists are re-ordered, why, how the fit went, and the weights.

reranked.json · evaluated/ranker.safetensors · published/ranker.safetensors, where lists are re-ordered
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.artefacts.read import FULL, read_json, readable

FILE = "reranked.json"


@dataclass(frozen=True)
class RankerFit:
    """How the fit of a re-ranker went.

    learned_from: `shown` or `sampled`. pairs: learned from; chosen_pairs: those that were chosen. used: whether
    re-ordering helps. metric: what validation chose by. users: of the validation part that this was decided on. before
    and after: their mean of the metric by the first stage, and re-ordered. error: of the mean difference, paired.
    curve: `epoch`, `loss` and the metric of each epoch. by_source: the best of the other half of those users, learned
    from either kind of pairs.
    """

    learned_from: str
    epochs: int
    pairs: int
    chosen_pairs: int
    used: bool = False
    metric: str = ""
    users: int = 0
    before: float = 0.0
    after: float = 0.0
    error: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    by_source: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reranked:
    """One night's second stage.

    used: whether the lists that go out are re-ordered, and reason why. candidates: how many of the first stage's best
    are, for each user. fit: None where there was nothing to learn from, or nothing was asked for.
    """

    folder: Path
    used: bool
    reason: str
    candidates: int
    fit: RankerFit | None = None

    @property
    def evaluated(self) -> Path:
        """The folder of the weights that learned from the training part; there if `fit` is."""
        return self.folder / "evaluated"

    @property
    def published(self) -> Path:
        """The folder of the weights that learned from everything; there if lists are re-ordered."""
        return self.folder / "published"

    def write(self) -> None:
        """Writes `reranked.json` into the folder."""
        document = {name: value for name, value in asdict(self).items() if name != "folder"}
        (self.folder / FILE).write_text(json.dumps(document, indent=1, sort_keys=True), "utf-8")

    @staticmethod
    def read(folder: Path) -> Reranked:
        """What `write` wrote. Raises ShardCorrupt if it is not that."""
        document = read_json(folder / FILE, hint=FULL)
        with readable(folder / FILE, "not what rerank writes", FULL):
            fit = document.pop("fit")
            return Reranked(folder, **document, fit=RankerFit(**fit) if fit else None)
