"""The weight of the user in a personal search, as a night's validation part has it.

- queries: the values of the catalogue's attributes that are kinds of items, see `kinds_of`, as words; a kind whose
  words do not find its items is nobody's query;
- asked by a seeded sample of users, for what they chose of the kind in the validation part; users are made of their
  training histories by the fit that has seen no more, as the published index makes users;
- chosen: see `pipeline.serving.personal`.

It takes the time of some hundred texts, some hundred searches, and USERS users made of their histories.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.mapped import MappedTable
from pipeline.artefacts.model import Fitted
from pipeline.artefacts.published import CONTENT, ITEMS, Published
from pipeline.artefacts.read import read_blocks
from pipeline.artefacts.staged import Staged
from pipeline.artefacts.vectors import matrix
from pipeline.errors import ConfigError
from pipeline.indexing.searched import Searched
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.recommend import kind_of
from pipeline.recommend.sides import FoldSide, PastOf
from pipeline.serving.encoded_query import QueryEncoders
from pipeline.serving.personal import DEPTH, Asked, candidates, chosen
from pipeline.storage.documents import Json

log = logging.getLogger("medley")
USERS, KINDS = 1000, 100
# A kind has so many items at least, and of the catalogue this share at most; its words are to find them so many times
# more often than chance does.
FEWEST_ITEMS, LARGEST_SHARE, BETTER_THAN_CHANCE = 10, 0.25, 2.0


@dataclass(frozen=True, eq=False)
class Kind:
    """Items that share a value of an attribute: its text, and their rows, sorted, (n,)."""

    text: str
    rows: Int64s


def weigh(folder: Path, staged: Staged, evaluated: Fitted, model: str, indexed: Int64s, seed: int) -> Json:
    """The card's entry: `user`, the weight; `queries`, how many it was chosen by; and `ndcg@10` of each weight tried.

    folder: of the index, whose items, encoders and content are written. indexed: (rows,) the items' codes.
    """
    side = kind_of(model).fold_side(evaluated.folder)
    learnt = staged.read_log()
    train, validation = learnt.of("train"), learnt.of("validation")
    queries: list[Asked] = []
    if side is not None and not side.whole and len(validation):
        found = _found(Published(folder, ""))
        targets = validation.of_those_in(train).sample_users(USERS, seed)
        queries = list(_asked(found, side, evaluated, indexed, train, targets))
    weight, means = chosen(queries)
    log.info("index personal search: the user weighs %g, by %d queries", weight, len(queries))
    tried = {f"{one:g}": round(mean, 4) for one, mean in means.items()}
    return {"user": weight, "queries": len(queries), f"ndcg@{DEPTH}": tried}


def kinds_of(table: MappedTable) -> list[Kind]:
    """The kinds that a catalogue's attributes of text name, the KINDS largest, largest first."""
    kinds = []
    for name in table.names:
        if name in ("item_id", "title"):
            continue
        column = table.read([name])[name].combine_chunks()
        rows = np.arange(len(column))
        if pa.types.is_list(column.type):
            rows, column = pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column)
        if not pa.types.is_string(column.type):
            continue
        coded = column.dictionary_encode()
        codes = pc.fill_null(coded.indices, -1).to_numpy()
        counts = np.bincount(codes[codes >= 0], minlength=len(coded.dictionary))
        fitting = np.flatnonzero((counts >= FEWEST_ITEMS) & (counts <= LARGEST_SHARE * len(table)))
        for code in fitting[np.argsort(-counts[fitting], kind="stable")][:KINDS]:
            kinds.append(Kind(coded.dictionary[int(code)].as_py(), np.unique(rows[codes == code])))
    return sorted(kinds, key=lambda kind: (-len(kind.rows), kind.text))[:KINDS]


def _found(index: Published) -> list[tuple[Kind, Floats, Int64s]]:
    """Each kind whose words find it, with the candidates of these words: cosines and rows, (m,)."""
    table, encoders, words = index.table(ITEMS), QueryEncoders(index), {}
    for kind in kinds_of(table):
        with suppress(ConfigError):  # items have no words, or none of these
            words[kind] = encoders.fused({"text": kind.text})
    if not words:
        return []
    found = []
    scores, rows = Searched(lambda: index.faiss(CONTENT)).nearest(np.stack([*words.values()]), candidates(DEPTH))
    for kind, cosines, best in zip(words, scores, rows, strict=True):
        best, cosines = best[best >= 0], cosines[best >= 0]
        # As far as the kind could fill them.
        first = best[: len(kind.rows)]
        if np.isin(first, kind.rows).mean() >= BETTER_THAN_CHANCE * len(kind.rows) / len(table):
            found.append((kind, cosines, best))
    return found


def _asked(
    found: list[tuple[Kind, Floats, Int64s]],
    side: FoldSide,
    evaluated: Fitted,
    indexed: Int64s,
    train: Interactions,
    targets: Interactions,
) -> Iterator[Asked]:
    """The queries of the users of `targets`, for what they had not chosen in training."""
    if not found:
        return
    row_of = np.full(train.n_items, -1, np.int64)
    row_of[indexed] = np.arange(len(indexed))
    kinds: dict[int, list[int]] = defaultdict(list)
    later = np.unique(row_of[targets.item])
    for number, (kind, _, _) in enumerate(found):
        for row in later[np.isin(later, kind.rows)].tolist():
            kinds[row].append(number)
    every = np.unique(np.concatenate([rows for _, _, rows in found]))
    vectors = _vectors(evaluated.item_vectors, indexed[every])
    starts, ends = train.offsets(), targets.offsets()
    for user in np.unique(targets.user):
        own = slice(*starts[[user, user + 1]])
        seen, wanted = row_of[train.item[own]], row_of[targets.item[slice(*ends[[user, user + 1]])]]
        wanted = np.setdiff1d(wanted[wanted >= 0], seen)
        asked = sorted({number for row in wanted.tolist() for number in kinds[row]})
        if not asked:
            continue
        codes, places = np.unique(train.item[own], return_inverse=True)
        alone = np.zeros(len(places), np.int32), places.astype(np.int32), train.age_days[own], train.weight[own]
        taste = side.fold_in(PastOf(Interactions(*alone, 1, len(codes)), codes.astype(np.int64)))
        for number in asked:
            kind, cosines, rows = found[number]
            new, right = ~np.isin(rows, seen), np.intersect1d(wanted, kind.rows)
            products = vectors[np.searchsorted(every, rows[new])] @ taste
            yield Asked(cosines[new], products, np.isin(rows[new], right), len(right))


def _vectors(path: Path, codes: Int64s) -> Floats:
    """Some rows of a table of vectors, by ascending code, of which a group of rows is in memory at a time."""
    parts, start = [], 0
    for _, block in read_blocks(path, ["vector"]):
        own = codes[(codes >= start) & (codes < start + len(block))] - start
        parts += [matrix(block["vector"].take(pa.array(own)))] if len(own) else []
        start += len(block)
    return np.concatenate(parts)
