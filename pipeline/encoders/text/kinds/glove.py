"""glove and word2vec: the vectors of a text's words, pooled: their mean, maximum, or mean by smooth inverse frequency.

    text ── words ──► rows of those that have a vector ── pool ──► vector

Smooth inverse frequency: Arora, Liang and Ma, "A simple but tough-to-beat baseline for sentence embeddings" (2017).
A word weighs a / (a + p), where p is its share of all words of the catalogue, 0 for a word that is not there; the mean
of the weighted vectors then loses its projection on the first principal component of such means (not centred, as in
the paper) over a sample of the catalogue.

Where word2vec is given no weights, it trains the vectors on the catalogue.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import GLOVE, TextSettings
from pipeline.encoders import fitted
from pipeline.encoders.base import Input, Raw
from pipeline.encoders.text.segment import meaning, words
from pipeline.encoders.text.template import TemplateEncoder
from pipeline.encoders.text.word_vectors import Lines, WordVectors, packed, read_vectors, unpacked
from pipeline.encoders.weights import check, locate
from pipeline.errors import MediaError, StepFailed
from pipeline.storage.documents import Json
from pipeline.workspace import digest

VERSION = 1
# Of fewer texts than this, the first principal component is what they say, and not what all texts have in common.
LEAST_TEXTS_FOR_COMPONENT = 10
LEAST_NORM = 1e-6


class WordText(TextSettings):
    """Word vectors, pooled over the words of a text."""

    pooling: Literal["mean", "max", "sif"] = Field("sif", description="sif weights words by smooth inverse frequency")
    sif_a: float = Field(1e-3, gt=0, description="sif: a of a / (a + frequency)")
    weights: str = ""
    sha256: str = Field("", description="expected sha256 of the vectors' file; empty for no check")


class GloveText(WordText):
    """Word vectors from a file or package."""

    encoder: Literal["glove"] = "glove"
    weights: str = Field(
        GLOVE,
        pattern="^(package|path):",
        description="package:NAME/FOLDER or path:FILE (GloVe's text, word2vec's text or binary, or .safetensors)",
    )


class WordTextEncoder(TemplateEncoder):
    """`decode` gives the finished vector, shape (width,) float32, not of unit norm.

    It fits, where it must: frequencies and the common component (sif), and vectors of its own.
    """

    Settings: ClassVar[type[WordText]] = GloveText
    settings: WordText
    seconds_a_row = 0.001
    window = 8192
    batch_cost = window

    def __init__(self, settings: WordText) -> None:
        super().__init__()
        self.settings = settings
        self.trains = not settings.weights
        self.fits = self.trains or settings.pooling == "sif"
        self.path = Path() if self.trains else locate(settings.weights)
        self.model = settings.weights or "word2vec trained on the catalogue"
        weights = "" if self.trains else check(settings.weights, self.path, settings.sha256)
        self.identity = digest(VERSION, meaning(), self._meaning(), weights)

    def _meaning(self) -> Json:
        """The settings that decide a vector."""
        unused = {"weights", "sha256", "max_error_rate"}
        unused |= set() if self.settings.pooling == "sif" else {"sif_a"}
        unused |= set() if self.trains else {"width", "epochs", "context_words", "min_count"}
        return self.settings.model_dump(exclude=unused)

    def fit(self, texts: Iterable[str], folder: Path) -> None:
        """Trains vectors and fits frequencies and the common component, as the settings ask, in one pass of the texts.

        The words wait on disk, in `folder`, so that memory does not grow with the catalogue. Raises StepFailed if no
        text has a word with a vector.
        """
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            lines = Lines(Path(scratch) / "words.txt", texts)
            tensors = self._fit_vectors(lines)
            if self.settings.pooling == "sif":
                tensors |= self._fit_sif(lines)
        fitted.save(folder, tensors, {"texts": lines.texts, "words": lines.words, "model": self.model})

    def load(self) -> None:
        """Reads the vectors and what was fitted. Raises WeightsError or StepFailed if they are not there."""
        tensors = fitted.read(self.prepared.folder, self.settings.encoder)[0] if self.fits else {}
        if self.trains:
            rows = {word: row for row, word in enumerate(unpacked(tensors["words"]))}
            self.vectors = WordVectors(rows, tensors["vectors"])
        else:
            self.vectors = read_vectors(self.path)
        self.width = self.vectors.matrix.shape[1]
        if self.settings.pooling == "sif":
            self._weigh(tensors["rows"], tensors["shares"])
            self.common = tensors["common"]

    def decode(self, raw: Raw) -> Input:
        """The text's vector. Raises MediaError if none of its words has a vector, or nothing is left of their mean."""
        rows = self.vectors.known(words(self.text_of(raw)))
        if not len(rows):
            raise MediaError("no known word")
        vector = self._pooled(rows)
        if self.settings.pooling == "sif":
            vector = vector - self.common * (self.common @ vector)
        if np.linalg.norm(vector) < LEAST_NORM:
            raise MediaError("no telling word")
        return [vector.astype(np.float32)]

    def _pooled(self, rows: np.ndarray) -> np.ndarray:
        vectors = np.asarray(self.vectors.matrix[rows], np.float32)
        if self.settings.pooling == "max":
            return np.asarray(vectors.max(axis=0))
        if self.settings.pooling == "mean":
            return np.asarray(vectors.mean(axis=0))
        return np.asarray(self.weights[rows] @ vectors / len(rows), np.float32)

    def _weigh(self, rows: np.ndarray, shares: np.ndarray) -> None:
        """Every word's a / (a + p)."""
        self.weights = np.ones(len(self.vectors.matrix), np.float32)
        self.weights[rows] = self.settings.sif_a / (self.settings.sif_a + shares)

    def train(self, lines: Lines) -> WordVectors:
        """Vectors of the catalogue's words, where no weights are given."""
        raise NotImplementedError(f"{type(self).__name__} trains no vectors")

    def _fit_vectors(self, lines: Lines) -> dict[str, np.ndarray]:
        if not self.trains:
            self.vectors = read_vectors(self.path)
            return {}
        self.vectors = self.train(lines)
        return {"vectors": self.vectors.matrix, "words": packed(list(self.vectors.rows))}

    def _fit_sif(self, lines: Lines) -> dict[str, np.ndarray]:
        counted, sample = Counter[int](), fitted.Sample()
        for line in lines:
            if len(known := self.vectors.known(line.split(" "))):
                counted.update(known.tolist())
                sample.add(line)
        if not counted:
            raise StepFailed(f"text encoder {self.settings.encoder}: no word of the catalogue has a vector")
        rows = np.asarray(sorted(counted), np.int64)
        shares = np.asarray([counted[row] for row in rows.tolist()]) / lines.words
        self._weigh(rows, shares)
        means = np.stack([self._pooled(self.vectors.known(line.split(" "))) for line in sample])
        return {"rows": rows, "shares": shares, "common": first_component(means)}


def first_component(means: np.ndarray) -> np.ndarray:
    """The first right singular vector, shape (d,), float32, its largest entry positive; zeros for a few rows only."""
    if len(means) < LEAST_TEXTS_FOR_COMPONENT:
        return np.zeros(means.shape[1], np.float32)
    rows = means.astype(np.float64)
    common = np.linalg.eigh(rows.T @ rows)[1][:, -1]
    return np.asarray(common * np.sign(common[np.abs(common).argmax()]), np.float32)
