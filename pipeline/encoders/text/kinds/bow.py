"""bow and tfidf: a text's words, counted (and weighted, tfidf), reduced by truncated singular value decomposition.

    text ── words, pairs ──► damped counts ── × idf (tfidf) ──► unit row ── · components ──► vector
                             1 + ln(count)

That is scikit-learn's TfidfVectorizer with `sublinear_tf` (and `use_idf` for tfidf) before its TruncatedSVD: latent
semantic analysis, Deerwester and others, "Indexing by latent semantic analysis" (1990). Both kinds damp counts.

A fit reads the texts once. Terms are counted with a bound (`FittedTally`); the decomposition sees a sample of at
most 50,000 texts (`Sample`), so that memory does not grow with the catalogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import TextSettings
from pipeline.encoders import fitted
from pipeline.encoders.base import Input, Raw
from pipeline.encoders.text.segment import meaning, words
from pipeline.encoders.text.template import TemplateEncoder
from pipeline.encoders.text.vocabulary import FittedTally, FittedVocabulary, HashedTally, HashedVocabulary, Row, terms
from pipeline.errors import MediaError, StepFailed
from pipeline.workspace import digest

VERSION = 1
# Below this share of the largest, a singular value is rounding, and its direction says nothing.
LEAST_SINGULAR_VALUE = 1e-6
LEAST_NORM = 1e-6


class Counts(TextSettings):
    """Counts of words, by scikit-learn, reduced by truncated singular value decomposition."""

    vocabulary: Literal["fitted", "hashed"] = Field("fitted", description="words of the catalogue, or hash buckets")
    words: int = Field(50_000, ge=2, description="most frequent words kept, or number of hash buckets")
    ngrams: Literal[1, 2] = Field(1, description="2 counts pairs of neighbouring words too")
    width: int = Field(256, ge=2, description="dimensions kept by the decomposition, fewer in a small catalogue")


class CountText(Counts):
    """Counts of words, damped by a logarithm."""

    encoder: Literal["bow"] = "bow"


class CountTextEncoder(TemplateEncoder):
    """`decode` gives the finished vector, shape (width,) float32, not of unit norm.

    `width` is what the fit gives: a catalogue of fewer texts, or of fewer words, than `settings.width` has no more
    dimensions than that.
    """

    Settings: ClassVar[type[Counts]] = CountText
    settings: Counts
    fits = True
    vocabulary: FittedVocabulary | HashedVocabulary
    seconds_a_row = 0.001
    window = 8192
    batch_cost = window

    def __init__(self, settings: Counts) -> None:
        super().__init__()
        self.settings = settings
        self.model = f"{settings.encoder}, {settings.vocabulary} vocabulary, truncated SVD"
        self.width = settings.width
        self.identity = digest(VERSION, meaning(), settings.model_dump(exclude={"max_error_rate"}))

    def fit(self, texts: Iterable[str], folder: Path) -> None:
        """Fits vocabulary, idf and components on the texts, in one pass.

        Raises StepFailed if no text has a word.
        """
        sample = fitted.Sample()
        tally = HashedTally(self.settings.words) if self._hashes else FittedTally(self.settings.words)
        for text in texts:
            if tokens := words(text):
                sample.add(" ".join(tokens))
                tally.add(self._terms(tokens))
        if not len(sample):
            raise StepFailed(f"text encoder {self.settings.encoder}: no text of the catalogue has a word to fit on")
        self.vocabulary, texts_with = tally.close()
        self._weigh(texts_with, sample.seen)
        components = _components((self._row(line.split(" ")) for line in sample), self.vocabulary.size, self.width)
        described = {"terms": self.vocabulary.listed, "texts": sample.seen, "sampled_texts": len(sample)}
        fitted.save(folder, {"components": components, "idf": self.idf}, described)

    def load(self) -> None:
        """Reads what was fitted. Raises StepFailed if nothing was."""
        tensors, described = fitted.read(self.prepared.folder, self.settings.encoder)
        listed = FittedVocabulary(described["terms"])
        self.vocabulary = HashedVocabulary(self.settings.words) if self._hashes else listed
        self.idf, self.components = tensors["idf"], tensors["components"]
        self.width = self.components.shape[1]

    def decode(self, raw: Raw) -> Input:
        """The text's vector. Raises MediaError if none of its words is known, or none shared with other texts."""
        row = self._row(words(self.text_of(raw)))
        if not len(row.columns):
            raise MediaError("no known word")
        vector = row.weights.astype(np.float32) @ self.components[row.columns]
        if np.linalg.norm(vector) < LEAST_NORM:
            raise MediaError("no word shared with other texts")
        return [vector]

    @property
    def _hashes(self) -> bool:
        return self.settings.vocabulary == "hashed"

    def _terms(self, tokens: Sequence[str]) -> Counter[str]:
        return terms(tokens, self.settings.ngrams)

    def _weigh(self, texts_with: np.ndarray, texts: int) -> None:
        """Smooth inverse document frequency, ln((1 + texts) / (1 + texts with the term)) + 1; ones for bow."""
        rare = np.log((1 + texts) / (1 + texts_with)) + 1
        self.idf = rare if self.settings.encoder == "tfidf" else np.ones_like(rare)

    def _row(self, tokens: Sequence[str]) -> Row:
        """A text's weighted counts, of unit norm."""
        row = self.vocabulary.row(self._terms(tokens))
        weights = row.weights * self.idf[row.columns]
        return Row(row.columns, weights / (np.linalg.norm(weights) or 1.0))


def _components(rows: Iterable[Row], columns: int, width: int) -> np.ndarray:
    """The right singular vectors of the rows with the largest singular values, shape (columns, at most width).

    Halko, Martinsson and Tropp, "Finding structure with randomness" (2011), as scikit-learn's TruncatedSVD runs it.
    """
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD

    sampled = list(rows)
    starts = np.cumsum([0] + [len(row.columns) for row in sampled])
    cells = (np.concatenate([row.weights for row in sampled]), np.concatenate([row.columns for row in sampled]), starts)
    matrix = sparse.csr_array(cells, shape=(len(sampled), columns))
    reduction = TruncatedSVD(min(width, *matrix.shape), random_state=0)
    # A single text has no variance, of which the reduction would report a share.
    with np.errstate(invalid="ignore", divide="ignore"):
        reduction.fit(matrix)
    significant = reduction.singular_values_ > LEAST_SINGULAR_VALUE * reduction.singular_values_.max()
    return np.ascontiguousarray(reduction.components_[significant].T, np.float32)
