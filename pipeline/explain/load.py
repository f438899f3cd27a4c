"""What an index was made from, by its card, to explain its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.published import Published
from pipeline.artefacts.read import AGAIN
from pipeline.artefacts.reranked import Reranked
from pipeline.artefacts.staged import Staged
from pipeline.config import Modality
from pipeline.errors import WorkspaceError
from pipeline.storage import fetched

STEPS = ("ingest", "fuse", "train", "rerank")


@dataclass(frozen=True)
class Sources:
    """An index and what it was made from. model: the recommender's name. shards: of each modality, by bucket."""

    index: Published
    staged: Staged
    fused: Fused
    trained: Path
    reranked: Reranked
    model: str
    shards: Mapping[Modality, list[Path]]


def sources_of(workspace: Path, index: Published) -> Sources:
    """Reads an index's lineage from its card.

    Raises WorkspaceError if something that it names is no longer there, ShardCorrupt if the card is not.
    """
    card = index.card
    lineage = {step: fetched(workspace / str(path)) for step, path in card["lineage"].items()}
    if missing := set(STEPS) - set(lineage):
        raise WorkspaceError(f"{index.folder}: names no {' or '.join(sorted(missing))} that it was made by; {AGAIN}")
    staged, fused, trained, reranked = (_there(lineage[step]) for step in STEPS)
    steps = sorted(lineage.items())
    shards = {
        modality: [_there(path) for step, path in steps if step.startswith(f"extract.{modality}.bucket-")]
        for modality in sorted(card["encoders"], key=Fused(fused).modalities().index)
    }
    return Sources(index, Staged(staged), Fused(fused), trained, Reranked.read(reranked), str(card["model"]), shards)


def _there(path: Path) -> Path:
    if not path.exists():
        raise WorkspaceError(f"{path}: gone, so the index made from it cannot be explained; {AGAIN}")
    return path
