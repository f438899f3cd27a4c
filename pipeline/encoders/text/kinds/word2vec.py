"""word2vec: word vectors of a file, or learned from the catalogue: skip-gram with negative sampling, by gensim.

Mikolov and others, "Distributed representations of words and phrases and their compositionality" (2013). One worker
and a seed, so that the same texts in the same order give the same bytes.
"""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import Field

from pipeline.encoders.text.kinds.glove import WordText, WordTextEncoder
from pipeline.encoders.text.word_vectors import Lines, WordVectors
from pipeline.errors import StepFailed

# Distinct words while counting (the rarest leave beyond that), and words that get a vector, the most frequent ones.
MAX_COUNTED_WORDS = 2_000_000
MAX_TRAINED_WORDS = 200_000


class Word2VecText(WordText):
    """Word2Vec trained on the catalogue, or read from a file."""

    encoder: Literal["word2vec"] = "word2vec"
    weights: str = Field(
        "", pattern="^$|^(package|path):", description="as for glove; empty trains on the catalogue's texts"
    )
    width: int = Field(128, ge=2, description="dimensions of trained vectors")
    epochs: int = Field(10, ge=1)
    context_words: int = Field(5, ge=1, description="words on either side that are predicted")
    min_count: int = Field(2, ge=1, description="rarer words get no vector")


class Word2VecTextEncoder(WordTextEncoder):
    """As WordTextEncoder, with vectors of its own where none are given."""

    Settings = Word2VecText
    settings: Word2VecText

    def train(self, lines: Lines) -> WordVectors:
        """Vectors of the words that occur `min_count` times, shape (words, width), float32, the most frequent first.

        Raises StepFailed if there is no such word.
        """
        from gensim.models import Word2Vec
        from gensim.models.word2vec import LineSentence

        logging.getLogger("gensim").setLevel(logging.ERROR)
        model = Word2Vec(
            vector_size=self.settings.width,
            window=self.settings.context_words,
            min_count=self.settings.min_count,
            sg=1,
            epochs=self.settings.epochs,
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
                f"text encoder word2vec: no word of the catalogue occurs {self.settings.min_count} times; lower "
                "extract.text.min_count"
            )
        model.train(sentences, total_examples=model.corpus_count, epochs=model.epochs)
        return WordVectors({word: row for row, word in enumerate(model.wv.index_to_key)}, model.wv.vectors)
