"""Contributions: how much each modality of an item adds to a score, by exact Shapley values.

- an item's content from S alone is its fused vector made from the modalities in S and no other, for every subset S;
- of a user and an item, v(S) is the published model's score with that content; v(none), the base, is what is said
  without any content: by the item's id, by its popularity, and by whether it was new;
- a model that reads each modality's own vectors goes without those that are not in S, see `recommend.item_side`;
- of two items, v(S) is the cosine of both vectors from S alone, and v(none) is 0;
- v(all) is the published number itself, so base and values add up to what `medley lookup` says.

In every subset a new item stays new, and neighbours in a graph, of a gnn or the recommender, keep all that they have.
What a member of a blend says that cannot make its items again is part of the base.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.shards import Shards
from pipeline.config import MODALITIES, Modality
from pipeline.errors import ShardCorrupt, WorkspaceError
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import Codes, FromShards, Mask
from pipeline.fusion.saved import load_catalogue
from pipeline.fusion.shapley import Values, shapley, subsets
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content
from pipeline.workspace import CARD, read_json

Subset = frozenset[Modality]
# Items whose subsets are fused in one go.
CHUNK_ITEMS = 256
# The fused vectors of a learned kind were made from sides in float16.
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Sources:
    """Where what an index was made from lies; model: the recommender's name; shards: of each modality, by bucket."""

    staged: Path
    fused: Path
    trained: Path
    model: str
    shards: Mapping[Modality, list[Path]]


def sources_of(workspace: Path, index: Path) -> Sources:
    """Reads an index's lineage from its card.

    Raises WorkspaceError if the card, or anything that it names, is no longer there.
    """
    card = read_json(index / CARD)
    if card is None:
        raise WorkspaceError(f"{index / CARD}: gone, so nothing says what the index was made from; run the night again")
    lineage = {step: workspace / str(path) for step, path in card["lineage"].items()}
    names = [m for m in MODALITIES if m in card["encoders"]] + sorted(set(card["encoders"]) - set(MODALITIES))
    used = {m: [p for s, p in sorted(lineage.items()) if s.startswith(f"extract.{m}.bucket-")] for m in names}
    for path in (
        *(lineage[step] for step in ("ingest", "fuse", "train")),
        *(path for paths in used.values() for path in paths),
    ):
        if not path.exists():
            raise WorkspaceError(f"{path}: gone, so the index made from it cannot be explained; run the night again")
    return Sources(lineage["ingest"], lineage["fuse"], lineage["train"], str(card["model"]), used)


@dataclass(frozen=True)
class Game:
    """n games over the same modalities. values: of every subset, (n,) float64. held: (n, m) bool, who has what."""

    players: list[Modality]
    values: dict[Subset, Values]
    held: Mask

    @property
    def base(self) -> Values:
        """(n,) v(none)."""
        return self.values[frozenset()]

    def contributions(self) -> dict[Modality, Values]:
        """Each modality's Shapley values, (n,) float64; 0 where it is not there. With `base` they sum to v(all)."""
        return shapley(self.players, self.values)


class Explainer:
    """Plays the games of one index's items, by their codes: their places in the catalogue.

    items: what the model's items would be with other content; None where they are not made of it.
    """

    def __init__(self, sources: Sources) -> None:
        """Raises ShardCorrupt if a file is not what it should be."""
        self.sources = sources
        self._shards = Shards(sources.shards)
        self._fusion = load_catalogue(Fused(sources.fused))
        self._sides = FromShards(self._shards, self._fusion.frontend)
        self.items = kind_of(sources.model).item_side(sources.trained / "published")
        self.modalities = self._shards.modalities

    def codes(self, ids: Iterable[str]) -> dict[str, int]:
        """The codes of those of the ids that the catalogue has."""
        wanted = pa.array(sorted(set(ids)), pa.string())
        found: dict[str, int] = {}
        for bucket in range(len(self._shards)):
            if len(found) == len(wanted):
                break
            rows = pc.index_in(wanted, self._shards.ids(bucket).combine_chunks().cast(pa.string())).to_pylist()
            start = int(self._shards.starts[bucket])
            found |= {i: start + row for i, row in zip(wanted.to_pylist(), rows, strict=True) if row is not None}
        return found

    def missing(self, code: int) -> dict[Modality, str]:
        """The modalities that an item lacks, and why, as its shards say."""
        return self._shards.missing(code)

    def of_users(self, users: Vectors, codes: Codes, scores: Values) -> Game:
        """One game for each user and item. users: (n, d) as published. codes: (n,). scores: (n,) as published.

        `items` must be there: no other model's items are made of content.
        """
        if self.items is None:
            raise ValueError("no item of this model can be made again from content")
        fused, held = self._fused(codes)
        values = {}
        for chosen, vectors in fused.items():
            content = Content(np.nan_to_num(vectors), ~np.isnan(vectors[:, 0]))
            items = self.items.vectors(content, codes, chosen)
            values[chosen] = np.einsum("nd,nd->n", users, items, dtype=np.float64)
        return self._game(values, held, scores)

    def of_items(self, pair: Codes, score: float) -> Game:
        """The game of two items, n = 1. pair: (2,) codes. score: their cosine as published."""
        fused, held = self._fused(pair)
        plain = {chosen: np.nan_to_num(vectors).astype(np.float64) for chosen, vectors in fused.items()}
        values = {chosen: np.array([vectors[0] @ vectors[1]]) for chosen, vectors in plain.items()}
        return self._game(values, np.atleast_2d(held.any(axis=0)), np.array([score]))

    def _game(self, values: dict[Subset, Values], held: Mask, scores: Values) -> Game:
        players = self._fusion.frontend.modalities
        whole = frozenset(players)
        if np.any(np.abs(values[whole] - scores) > TOLERANCE * np.maximum(1, np.abs(scores))):
            raise ShardCorrupt(
                "the published vectors do not follow from their shards, fusion and model; run the night with --full"
            )
        everything = {chosen: self._anchored(chosen, values, held, scores) for chosen in values}
        return Game(players, everything, held)

    def _anchored(self, chosen: Subset, values: dict[Subset, Values], held: Mask, scores: Values) -> Values:
        """v(S), where S holds all that an item has the published score, to the last digit."""
        inside = np.isin(self._fusion.frontend.modalities, list(chosen))
        return np.where((held & ~inside).any(axis=1), values[chosen], scores)

    def _fused(self, codes: Codes) -> tuple[dict[Subset, Vectors], Mask]:
        """Of every subset the fused vectors from it alone, (n, w), NaN where nothing is left; and who has what."""
        chunks = [self._chunk(codes[start : start + CHUNK_ITEMS]) for start in range(0, len(codes), CHUNK_ITEMS)]
        found = {chosen: np.concatenate([vectors[chosen] for vectors, _ in chunks]) for chosen in chunks[0][0]}
        return found, np.concatenate([held for _, held in chunks])

    def _chunk(self, codes: Codes) -> tuple[dict[Subset, Vectors], Mask]:
        players = self._fusion.frontend.modalities
        every = sorted(subsets(players), key=len, reverse=True)
        keep = np.concatenate([np.tile(np.isin(players, list(chosen)), (len(codes), 1)) for chosen in every])
        vectors, _ = self._fusion.vectors(self._sides, np.tile(codes, len(every)), keep)
        _, held = self._sides.read(codes)
        return dict(zip(every, np.split(vectors, len(every)), strict=True)), held
