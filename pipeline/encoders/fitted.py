"""What a fit on the catalogue shares: a bounded sample of its texts, and files that repeat byte for byte."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import StepFailed
from pipeline.storage.documents import Json

TENSORS = "fitted.safetensors"
DOCUMENT = "fitted.json"
SAMPLE_ROWS = 50_000
SAMPLE_CHARACTERS = 100_000_000


class Sample:
    """A uniform sample of a stream of texts, bounded in rows and in characters; all of a stream that is smaller.

    Bottom-k sampling: every text draws a number, and while the bounds are exceeded the largest number's text leaves.
    The draws are seeded, so the same stream gives the same sample.
    """

    def __init__(self, rows: int = SAMPLE_ROWS, characters: int = SAMPLE_CHARACTERS) -> None:
        self.rows, self.characters = rows, characters
        self.seen = 0
        self._held = 0
        self._heap: list[tuple[float, int, str]] = []
        self._draws = np.random.default_rng(0)

    def add(self, text: str) -> None:
        """Takes the next text of the stream."""
        heapq.heappush(self._heap, (-self._draws.random(), self.seen, text))
        self.seen += 1
        self._held += len(text)
        while len(self._heap) > self.rows or (self._held > self.characters and len(self._heap) > 1):
            self._held -= len(heapq.heappop(self._heap)[2])

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[str]:
        """The sampled texts, in the stream's order."""
        return (text for _, _, text in sorted(self._heap, key=lambda held: held[1]))


def save(folder: Path, tensors: Mapping[str, np.ndarray], document: Json) -> None:
    """Writes tensors as safetensors and the rest as JSON: the same content gives the same bytes."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, folder / TENSORS)
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")


def read(folder: Path | None, described: str) -> tuple[dict[str, np.ndarray], Json]:
    """What `save` wrote; `described` names the encoder.

    Raises StepFailed if nothing has been fitted; ShardCorrupt if the files cannot be read.
    """
    from safetensors.numpy import load_file

    from pipeline.artefacts.read import readable

    if folder is None or not (folder / TENSORS).exists():
        raise StepFailed(f"encoder {described} has not been fitted on this catalogue; run extract with the catalogue")
    fault = f"what was fitted for encoder {described} cannot be read"
    with readable(folder, fault, "delete the folder, and the next run fits again"):
        return load_file(folder / TENSORS), json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
