"""By modality: how much each modality of an item adds to the first stage's score, by exact Shapley values.

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

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.shards import Shards
from pipeline.explain.base import Game, Subset, published_game
from pipeline.explain.load import Sources
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import FromShards, Mask
from pipeline.fusion.saved import load_catalogue
from pipeline.fusion.shapley import Values, subsets
from pipeline.interactions import Int64s
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content
from pipeline.recommend.content_features import prepared_in_place

# Items whose subsets are fused in one go.
CHUNK_ITEMS = 256
# The fused vectors of a learned kind were made from sides in float16.
TOLERANCE = 1e-2


class ModalityGames:
    """The games of one index's items, by their codes: their places in the catalogue.

    shards: the embeddings. items: what the model's items would be with other content; None where they are not made of
    it.
    """

    def __init__(self, sources: Sources) -> None:
        """Raises ShardCorrupt if a file is not what it should be."""
        self.sources = sources
        self.shards = Shards(sources.shards)
        self._fusion = load_catalogue(sources.fused)
        self._sides = FromShards(self.shards, self._fusion.frontend)
        self.modalities = self.shards.modalities
        self.items = kind_of(sources.model).item_side(sources.trained / "published") if self.modalities else None
        self._players: list[str] = list(self._fusion.frontend.modalities)

    def codes(self, ids: Iterable[str]) -> dict[str, int]:
        """The codes of those of the ids that the catalogue has."""
        wanted = pa.array(sorted(set(ids)), pa.string())
        places: dict[str, int] = {}
        start = 0
        for bucket in self.sources.staged.item_parts(lambda name: name == "item_id"):
            rows = pc.index_in(wanted, bucket["item_id"].combine_chunks()).to_pylist()
            places |= {i: start + row for i, row in zip(wanted.to_pylist(), rows, strict=True) if row is not None}
            start += len(bucket)
            if len(places) == len(wanted):
                break
        return places

    def prepared(self) -> dict[str, tuple[Vectors, Mask]]:
        """Each modality's vectors of the whole catalogue as the re-ranker reads them, see `Catalogue`."""
        for bucket in range(len(self.shards)):
            self.shards.ids(bucket)  # of every modality the same, or it raises
        return prepared_in_place((modality, self.shards.vectors(modality)) for modality in self.modalities)

    def of_users(self, users: Vectors, codes: Int64s, scores: Values) -> Game:
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
        return published_game(self._players, values, held, scores, TOLERANCE)

    def of_items(self, pair: Int64s, score: float) -> Game:
        """The game of two items, n = 1. pair: (2,) codes. score: their cosine as published."""
        fused, held = self._fused(pair)
        plain = {chosen: np.nan_to_num(vectors).astype(np.float64) for chosen, vectors in fused.items()}
        values = {chosen: np.array([vectors[0] @ vectors[1]]) for chosen, vectors in plain.items()}
        return published_game(self._players, values, np.atleast_2d(held.any(axis=0)), np.array([score]), TOLERANCE)

    def _fused(self, codes: Int64s) -> tuple[dict[Subset, Vectors], Mask]:
        """Of every subset the fused vectors from it alone, (n, w), NaN where nothing is left; and who has what."""
        chunks = [self._chunk(codes[start : start + CHUNK_ITEMS]) for start in range(0, len(codes), CHUNK_ITEMS)]
        by_subset = {chosen: np.concatenate([vectors[chosen] for vectors, _ in chunks]) for chosen in chunks[0][0]}
        return by_subset, np.concatenate([held for _, held in chunks])

    def _chunk(self, codes: Int64s) -> tuple[dict[Subset, Vectors], Mask]:
        every = sorted(subsets(self._players), key=len, reverse=True)
        keep = np.concatenate([np.tile(np.isin(self._players, list(chosen)), (len(codes), 1)) for chosen in every])
        vectors, _ = self._fusion.vectors(self._sides, np.tile(codes, len(every)), keep)
        _, held = self._sides.read(codes)
        return dict(zip(every, np.split(vectors, len(every)), strict=True)), held
