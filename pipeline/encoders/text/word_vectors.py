"""Word vectors from files, none of which is ever unpickled.

a folder            one .npy of shape (n, d), mapped into memory, and one .parquet whose first column names its rows
FILE.safetensors    `vectors`, (n, d), and `words`, the UTF-8 bytes of n lines: what a fit here writes
any other file      GloVe's text, or word2vec's text or binary, by gensim; .gz too
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.encoders.text import segment
from pipeline.errors import WeightsError

KINDS = "text or binary word2vec, GloVe text, .safetensors, or a folder with one .npy and one .parquet"
# Longer than any line of a text file of vectors: a binary file may hold no line end at all.
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class WordVectors:
    """Vectors by word. rows: each word's row. matrix: shape (n, d), float32 or float16, not of unit norm."""

    rows: Mapping[str, int]
    matrix: np.ndarray

    def known(self, words: Sequence[str]) -> np.ndarray:
        """The rows of the words that have a vector, int64, in order and with repetition."""
        return np.asarray([self.rows[word] for word in words if word in self.rows], np.int64)


class Lines:
    """The words of a stream of texts on disk, a line a text, to be read as often as it takes; texts without are left
    out. `texts` and `words` count what was written.
    """

    def __init__(self, path: Path, texts: Iterable[str]) -> None:
        self.path = path
        self.texts = self.words = 0
        with open(path, "w", encoding="utf-8") as file:
            for text in texts:
                if tokens := segment.words(text):
                    self.texts += 1
                    self.words += len(tokens)
                    file.write(" ".join(tokens) + "\n")

    def __iter__(self) -> Iterator[str]:
        """The texts in order, each its words with a space between."""
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")


def read_vectors(path: Path) -> WordVectors:
    """Reads word vectors of any kind named above. Raises WeightsError if the file is of none of them, or broken."""
    try:
        words, matrix = _read(path)
    except WeightsError:
        raise
    except Exception as error:  # numpy, pyarrow, safetensors and gensim each raise kinds of their own for broken files
        reason = f"{type(error).__name__}, {(str(error).splitlines() or ['no reason given'])[0]}"
        raise WeightsError(f"weights {path}: not word vectors ({KINDS}): {reason}") from None
    if matrix.ndim != 2 or len(words) != len(matrix) or matrix.dtype.kind != "f":
        raise WeightsError(
            f"weights {path}: {len(words)} words do not go with an array of {matrix.dtype} of shape {matrix.shape}"
        )
    return WordVectors(_rows(words), matrix)


def packed(words: Sequence[str]) -> np.ndarray:
    """Words as the bytes of lines: shape (bytes,), uint8."""
    return np.frombuffer("\n".join(words).encode(), np.uint8)


def unpacked(lines: np.ndarray) -> list[str]:
    """The reverse of `packed`."""
    return lines.tobytes().decode().split("\n")


def _rows(words: Sequence[str]) -> dict[str, int]:
    """The row of each normalised word: of its own spelling, else of the first, in files the most frequent, of others.

    So `apple` finds Apple where a file tells case apart and has no apple.
    """
    rows: dict[str, int] = {}
    own: dict[str, int] = {}
    for row, word in enumerate(words):
        spelled = segment.normal(word)
        (own if spelled == word else rows).setdefault(spelled, row)
    return rows | own


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    if path.is_dir():
        return _mapped(path)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        tensors = load_file(path)
        return unpacked(tensors["words"]), tensors["vectors"]
    return _foreign(path)


def _mapped(folder: Path) -> tuple[list[str], np.ndarray]:
    import pyarrow.parquet as pq

    arrays, indices = sorted(folder.glob("*.npy")), sorted(folder.glob("*.parquet"))
    if len(arrays) != 1 or len(indices) != 1:
        raise WeightsError(f"weights {folder}: the folder holds no word vectors (one .npy and one .parquet)")
    matrix = np.load(arrays[0], mmap_mode="r", allow_pickle=False)
    return [str(word) for word in pq.read_table(indices[0]).column(0).to_pylist()], matrix


def _foreign(path: Path) -> tuple[list[str], np.ndarray]:
    from gensim.models import KeyedVectors

    logging.getLogger("gensim").setLevel(logging.ERROR)
    loaded = KeyedVectors.load_word2vec_format(str(path), unicode_errors="replace", **_layout(path))
    return list(loaded.index_to_key), loaded.vectors


def _layout(path: Path) -> dict[str, bool]:
    """How gensim must read a file, by its first two lines. Raises WeightsError if they are no vectors' lines."""
    from gensim import utils

    with utils.open(str(path), "rb") as file:
        first, second = file.readline(MAX_LINE_BYTES), file.readline(MAX_LINE_BYTES)
    head = first.split()
    if len(head) == 2 and all(field.isdigit() for field in head):
        return {"binary": not _numbers(second, int(head[1]))}
    if len(head) > 2 and _numbers(first, len(head) - 1):
        return {"no_header": True}
    raise WeightsError(f"weights {path}: not word vectors ({KINDS})")


def _numbers(line: bytes, width: int) -> bool:
    """Whether a line is a word and `width` numbers."""
    try:
        return len([float(field) for field in line.rstrip().split(b" ")[1:]]) == width
    except ValueError:
        return False
