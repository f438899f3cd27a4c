"""Word2Vec trained on the catalogue: skip-gram with negative sampling, by gensim.

Mikolov and others, "Distributed representations of words and phrases and their compositionality" (2013). One worker
and a seed, so that the same texts in the same order give the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.encoders.text.kinds.word2vec import Word2VecText
from pipeline.encoders.text.segment import words
from pipeline.encoders.text.word_vectors import WordVectors
from pipeline.errors import StepFailed

# Distinct words while counting (the rarest leave beyond that), and words that get a vector, the most frequent ones.
MAX_COUNTED_WORDS = 2_000_000
MAX_TRAINED_WORDS = 200_000


class Lines:
    """The words of a stream of texts on disk, a line a text, to be read as often as it takes; texts without are left
    out. `texts` and `words` count what was written.
    """

    def __init__(self, path: Path, texts: Iterable[str]) -> None:
        self.path = path
        self.texts = self.words = 0
        with open(path, "w", encoding="utf-8") as file:
            for text in texts:
                if tokens := words(text):
                    self.texts += 1
                    self.words += len(tokens)
                    file.write(" ".join(tokens) + "\n")

    def __iter__(self) -> Iterator[str]:
        """The texts in order, each its words with a space between."""
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")


def train(lines: Lines, settings: Word2VecText) -> WordVectors:
    """Vectors of the words that occur `min_count` times, shape (words, width), float32, the most frequent word first.

    Raises StepFailed if there is no such word.
    """
    from gensim.models import Word2Vec
    from gensim.models.word2vec import LineSentence

    logging.getLogger("gensim").setLevel(logging.ERROR)
    model = Word2Vec(
        vector_size=settings.width,
        window=settings.context_words,
        min_count=settings.min_count,
        sg=1,
        epochs=settings.epochs,
        seed=1,
        workers=1,
        max_vocab_size=MAX_COUNTED_WORDS,
        max_final_vocab=MAX_TRAINED_WORDS,
    )
    # gensim cuts a text of over 10,000 words into several.
    sentences = LineSentence(str(lines.path))
    model.build_vocab(sentences)
    if not len(model.wv):
        raise StepFailed(
            f"text encoder word2vec: no word of the catalogue occurs {settings.min_count} times; lower "
            "extract.text.min_count"
        )
    model.train(sentences, total_examples=model.corpus_count, epochs=model.epochs)
    return WordVectors({word: row for row, word in enumerate(model.wv.index_to_key)}, model.wv.vectors)
