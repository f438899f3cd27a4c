"""Text by a transformers model, its token vectors pooled.

| text | result |
|---|---|
| up to `max_tokens` | one pass |
| longer, `long_texts: truncate` | its beginning; counted as `truncated` |
| longer, `long_texts: chunks` | up to `max_chunks` passes, averaged by their tokens; what is beyond is counted |
| blank | missing, "no text" |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import MINILM, WEIGHTS_FROM, Network, TextSettings
from pipeline.encoders.base import Input, Raw, Text
from pipeline.encoders.engine.engines import Batch
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.encoders.text.template import TemplateEncoder

if TYPE_CHECKING:
    import torch

VERSION = 3
MAX_CHARACTERS_PER_TOKEN = 64


class TransformerText(Network, TextSettings):
    """A transformers encoder or decoder-only language model, pooled over tokens."""

    encoder: Literal["transformer"] = "transformer"
    weights: str = Field(MINILM, description=WEIGHTS_FROM)
    gguf_file: str = Field("", description="name of a GGUF file in the weights' folder, to be read instead")
    pooling: Literal["auto", "mean", "max", "cls", "last", "attention", "joint"] = Field(
        "auto",
        description="how token vectors become one; joint is the projection of CLIP, SigLIP or CLAP; auto does as the "
        "weights' folder says, else joint, else last token (decoders), else mean",
    )
    prefix: str = Field("", description="put before every item's text, such as `passage: ` for E5")
    query_prefix: str = Field("", description="put before the text of a lookup, such as `query: `")
    max_tokens: int = Field(256, ge=8, description="tokens of one pass")
    long_texts: Literal["truncate", "chunks"] = Field("truncate", description="cut at max_tokens, or encode in parts")
    max_chunks: int = Field(8, ge=1, description="chunks: parts of one text that are encoded; the rest is cut")
    batch_tokens: int = Field(4096, ge=8, description="padded tokens in one batch; texts are sorted by length")


class TransformerTextEncoder(NetworkEncoder, TemplateEncoder):
    """Encodes an item's columns, laid into a template: `decode` gives token ids, `embed` (n, d) float32.

    Token vectors are the last hidden state of an encoder, of the encoder of a pair, or of a decoder-only model.
    """

    Settings = TransformerText
    transformer = True
    settings: TransformerText

    def __init__(self, settings: TransformerText) -> None:
        code = ("transformer", VERSION)
        super().__init__(settings, code, settings.batch_tokens, settings.pooling, settings.gguf_file)
        self.gguf_file = self.path.name if self.path.suffix == ".gguf" else settings.gguf_file
        self.window = 8192

    def build(self) -> torch.nn.Module:
        """Takes token ids and mask, both [n × t] int64, and gives [n × d]. Raises WeightsError."""
        from pipeline.encoders import transformer_networks as networks

        network = networks.load_model(self.folder, self.settings.weights, self.gguf_file)
        kind: str = self.settings.pooling
        if kind == "auto":
            kind = networks.pooling_of(self.folder, network)
        longest = networks.longest_text(network) or self.settings.max_tokens
        self.max_tokens = min(self.settings.max_tokens, longest, self.tokenizer.model_max_length)
        self.fixed_length = networks.fixed_length(network)
        return networks.PooledTokens(networks.text_tower(network, kind, self.settings.weights), kind)

    def load(self) -> None:
        """Loads tokenizer and network. Raises WeightsError if the folder holds no weights of a known kind."""
        from pipeline.encoders import transformer_networks as networks

        self.tokenizer: Any = networks.load_tokenizer(self.folder, self.model, self.gguf_file)
        self.padding = self.tokenizer.pad_token_id or 0
        super().load()

    def decode(self, raw: Raw) -> Input:
        """Token ids of each part, shape (tokens,), int64, at most `max_tokens`. Raises MediaError for a blank text."""
        text = self.text_of(raw)
        is_query = isinstance(raw, Text) and raw.query
        text = (self.settings.query_prefix if is_query else self.settings.prefix) + text
        chunks = self.settings.max_chunks if self.settings.long_texts == "chunks" else 1
        clipped = text[: self.max_tokens * chunks * MAX_CHARACTERS_PER_TOKEN]
        parts = self._tokens_of(clipped)
        if len(parts) > chunks or len(clipped) < len(text):
            self.count("truncated")
        return [np.asarray(part, dtype=np.int64) for part in parts[:chunks]]

    def cost(self, part: np.ndarray) -> int:
        """Its number of tokens once padded: a batch is padded to its longest text."""
        return self.fixed_length or len(part)

    def weight(self, part: np.ndarray) -> int:
        """Its number of tokens."""
        return len(part)

    def collate(self, parts: Sequence[np.ndarray]) -> Batch:
        """Token ids, padded to the longest part or as the model demands, and their mask: both (n, t) int64."""
        longest = self.fixed_length or max(len(tokens) for tokens in parts)
        ids = np.full((len(parts), longest), self.padding, dtype=np.int64)
        mask = np.zeros((len(parts), longest), dtype=np.int64)
        for row, tokens in enumerate(parts):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return ids, mask

    def examples(self) -> list[np.ndarray]:
        """Two texts of unlike length."""
        return [np.asarray(self._tokens_of(words)[0], dtype=np.int64) for words in ("one", "a few more words")]

    def _tokens_of(self, text: str) -> list[list[int]]:
        """A text's token ids in parts of at most `max_tokens`, each framed as the model expects; at least one part."""
        if self.tokenizer.is_fast:
            encoded = self.tokenizer(text, truncation=True, max_length=self.max_tokens).encodings[0]
            return [encoded.ids, *(more.ids for more in encoded.overflowing)]
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        room = self.max_tokens - self.tokenizer.num_special_tokens_to_add()
        parts = [ids[at : at + room] for at in range(0, max(1, len(ids)), room)]
        return [self.tokenizer.prepare_for_model(part)["input_ids"] for part in parts]
