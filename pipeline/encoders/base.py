"""The contract of an encoder.

raw ── decode ──► input: its parts ── embed ──► one vector
bytes or columns  (a text, or its chunks;       (parts sorted by cost, batched, encoded,
                   a clip's windows;             averaged again per input)
                   a picture's views)
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.config.shared import EncoderSettings, MediaSettings
from pipeline.errors import StepFailed, border
from pipeline.training.batches import padded_runs
from pipeline.workspace import digest

# What `decode` makes of one item: the parts that are encoded and averaged, most often a single one.
Input = list[np.ndarray]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Text:
    """An item's columns as a text encoder's template sees them; a query's text is put where `text` stands."""

    columns: Mapping[str, str]
    query: bool = False


@dataclass(frozen=True)
class Prepared:
    """What was decided for an encoder once, for all of a catalogue: see `pipeline.steps.prepare`.

    folder: where fitted files are. fitted: their digest, empty where nothing is fitted. cosine: mean cosine of
    `precision` to fp32 on a sample of the catalogue.
    """

    folder: Path | None = None
    fitted: str = ""
    engine: str = "torch"
    precision: str = "fp32"
    cosine: float = 1.0


# What a row has of a modality: a file's bytes (image, audio), an item's columns (text), or, of a modality of the user's
# own, its column's value as it is: a text or bytes.
Raw = bytes | str | Text


class Encoder(ABC):
    """From what an item has of a modality to an embedding.

    Settings: its own, read from a section of `extract`. `identity` names what decides a vector: model, weights,
    preprocessing. `batch_cost` bounds one batch: the number of parts times the largest `cost` among them. `window`
    inputs are decoded ahead and sorted by cost at a time, so that memory does not grow with the catalogue. `space`
    names the joint space that vectors lie in, if any. `counts` gathers what a receipt should say, such as truncated
    texts. `seconds_a_row` is a guess of what a row takes, until a night has measured it: tasks are cut by it.
    """

    identity: str
    model: str
    width: int
    batch_cost: int
    window: int
    space: str = ""
    fits = False
    seconds_a_row: ClassVar[float] = 0.01
    Settings: ClassVar[type[EncoderSettings]] = MediaSettings

    def __init__(self) -> None:
        self.prepared = Prepared()
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        """Names the vectors: identity, what was fitted, and a precision below fp32 with its measured cosine."""
        if self.prepared.precision == "fp32":
            return digest(self.identity, self.prepared.fitted) if self.prepared.fitted else self.identity
        return digest(self.identity, self.prepared.fitted, self.prepared.precision, self.prepared.cosine)

    def count(self, what: str) -> None:
        """Adds one to a count of the receipt; any thread may."""
        with self._lock:
            self.counts[what] += 1

    def render(self, raw: Text) -> str:
        """The text that a text encoder reads. Raises MediaError if there is none; ConfigError for an unknown column."""
        raise NotImplementedError(f"{type(self).__name__} encodes no text")

    def fit(self, texts: Iterable[str], folder: Path) -> None:
        """Fits what the encoder needs of the catalogue (where `fits`) and writes it to a folder, never as pickle."""
        raise NotImplementedError(f"{type(self).__name__} fits nothing")

    @abstractmethod
    def load(self) -> None:
        """Loads the weights, once per process, and only here torch: a night that encodes nothing needs neither."""

    @abstractmethod
    def decode(self, raw: Raw) -> Input:
        """Turns one raw input into what `embed` takes; runs in worker threads. Raises MediaError if it can't."""

    def encode(self, parts: Sequence[np.ndarray]) -> Vectors:
        """Encodes one batch of parts: returns shape (len(parts), width), float32, not of unit norm.

        As it stands, for an encoder whose `decode` gives finished vectors, which are stacked.
        """
        return np.stack(parts).astype(np.float32)

    def encode_all(self, batches: Sequence[Sequence[np.ndarray]]) -> list[Vectors]:
        """Encodes batches, each as `encode` does."""
        return [self.encode(batch) for batch in batches]

    def cost(self, part: np.ndarray) -> int:
        """What one part counts towards `batch_cost`."""
        return 1

    def weight(self, part: np.ndarray) -> int:
        """A part's weight in its input's average."""
        return self.cost(part)

    def _encoded(self, batches: Sequence[Sequence[np.ndarray]]) -> list[Vectors]:
        """What `encode_all` gives, if it is what it must be: an encoder may be of anybody's making."""
        with border(f"encoder {self.model}"):
            vectors = [np.asarray(batch) for batch in self.encode_all(batches)]
        widths = {batch.shape[1] if batch.ndim == 2 else 0 for batch in vectors}
        for batch, parts in zip_longest(vectors, batches, fillvalue=np.zeros(0)):
            if len(batch) != len(parts) or batch.dtype.kind not in "fiu" or len(widths) > 1 or not min(widths):
                raise StepFailed(
                    f"encoder {self.model} returned shape {batch.shape} of {batch.dtype} for {len(parts)} inputs; "
                    "it must return a row of numbers for each, all of one width"
                )
        return vectors

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Encodes decoded inputs: returns shape (len(inputs), width), float32, not of unit norm.

        An input of several parts is their average, by `weight`. Raises StepFailed if `encode` gives what is no row of
        numbers for each part, or fails.
        """
        # A stable sort by cost keeps batches, and so the vectors' last bits, the same from run to run.
        parts = [(self.cost(part), row, part) for row, parts in enumerate(inputs) for part in parts]
        parts.sort(key=lambda entry: entry[0])
        costs = np.asarray([cost for cost, _, _ in parts])
        rows = np.asarray([row for _, row, _ in parts])
        runs = padded_runs(costs.tolist(), self.batch_cost)
        batches = [[parts[i][2] for i in run] for run in runs]
        vectors = self._encoded(batches) if batches else [np.zeros((0, self.width), np.float32)]
        encoded = np.concatenate(vectors)
        if len(parts) == len(inputs):
            return np.ascontiguousarray(encoded[np.argsort(rows, kind="stable")], dtype=np.float32)
        weights = np.asarray([self.weight(part) for _, _, part in parts])
        total = np.zeros((len(inputs), encoded.shape[1]), np.float64)
        np.add.at(total, rows, encoded * weights[:, None])
        return (total / np.bincount(rows, weights, len(inputs))[:, None]).astype(np.float32)
