"""Terms of a text, and which column of a matrix each of them is: words of the catalogue, or hash buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# What a fit holds while it counts; twice the terms that are kept, where those are more.
MAX_TERMS = 1_000_000


@dataclass(frozen=True)
class Row:
    """A text's columns in ascending order, int64, and what each weighs, float64."""

    columns: np.ndarray
    weights: np.ndarray


def terms(words: Sequence[str], ngrams: int) -> Counter[str]:
    """How often each word occurs and, where `ngrams` is 2, each pair of neighbouring words."""
    counted = Counter(words)
    if ngrams == 2:
        counted.update(f"{first} {second}" for first, second in pairwise(words))
    return counted


def damped(count: int) -> float:
    """1 + ln(count): the tenth use of a word says less than the first.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval" (2008), section 6.4.1.
    """
    return 1.0 + float(np.log(count))


class FittedVocabulary:
    """Columns are the terms of a list; other terms have none."""

    def __init__(self, listed: Sequence[str]) -> None:
        self.listed, self.size = list(listed), len(listed)
        self._column = {term: column for column, term in enumerate(listed)}

    def row(self, counted: Counter[str]) -> Row:
        """A text's damped counts."""
        known = sorted((self._column[term], damped(n)) for term, n in counted.items() if term in self._column)
        return Row(np.asarray([c for c, _ in known], np.int64), np.asarray([w for _, w in known], np.float64))


class HashedVocabulary:
    """Columns are buckets of MurmurHash3: no term is unknown, and nothing is stored for one.

    The hash gives a sign too (Weinberger and others, "Feature hashing for large scale multitask learning", 2009): where
    terms collide, what they add to an inner product cancels on average. Two terms of one text that cancel each other
    count as absent.
    """

    def __init__(self, buckets: int) -> None:
        from sklearn.feature_extraction import FeatureHasher

        self.listed: list[str] = []
        self.size = buckets
        self._hasher = FeatureHasher(buckets, input_type="pair", alternate_sign=True)

    def row(self, counted: Counter[str]) -> Row:
        """A text's damped counts, signed."""
        hashed = self._hasher.transform([[(term, damped(n)) for term, n in counted.items()]])
        hashed.sort_indices()
        nonzero = hashed.data != 0
        return Row(hashed.indices[nonzero].astype(np.int64), hashed.data[nonzero].astype(np.float64))


class FittedTally:
    """Counts terms over a stream of texts, and in how many texts each occurs, in bounded memory.

    Once more than `limit` terms are held, the rarer half leaves, as in lossy counting (Manku and Motwani, 2002): a
    term's count is exact below the limit, and above it too low by at most what the rarest kept term had.
    """

    def __init__(self, size: int, limit: int = MAX_TERMS) -> None:
        self.size, self.limit = size, max(limit, 2 * size)
        self.counts: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()

    def add(self, counted: Counter[str]) -> None:
        """Takes the terms of the next text."""
        self.counts.update(counted)
        self.texts.update(counted.keys())
        if len(self.counts) > self.limit:
            frequent = self._frequent(self.limit // 2)
            self.counts = Counter({term: self.counts[term] for term in frequent})
            self.texts = Counter({term: self.texts[term] for term in frequent})

    def close(self) -> tuple[FittedVocabulary, np.ndarray]:
        """The `size` most frequent terms, and for each the number of texts that have it."""
        listed = sorted(self._frequent(self.size))
        return FittedVocabulary(listed), np.asarray([self.texts[term] for term in listed], np.int64)

    def _frequent(self, size: int) -> list[str]:
        """The most frequent terms; of equally frequent ones the first by alphabet."""
        return sorted(self.counts, key=lambda term: (-self.counts[term], term))[:size]


class HashedTally:
    """As `FittedTally`, for hash buckets."""

    def __init__(self, size: int) -> None:
        self.vocabulary = HashedVocabulary(size)
        self.texts = np.zeros(size, np.int64)

    def add(self, counted: Counter[str]) -> None:
        """Takes the terms of the next text."""
        self.texts[self.vocabulary.row(counted).columns] += 1

    def close(self) -> tuple[HashedVocabulary, np.ndarray]:
        """The buckets, and for each the number of texts that have a term in it."""
        return self.vocabulary, self.texts
