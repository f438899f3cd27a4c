"""Text by a transformers encoder, its token vectors pooled.

Mean pooling as in Reimers and Gurevych, "Sentence-BERT" (2019): the mean over the tokens that are not padding.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from pipeline.config import TextEncoder
from pipeline.encoders.base import Encoder, Text
from pipeline.encoders.weights import check, locate
from pipeline.errors import ConfigError, MediaError, WeightsError
from pipeline.workspace import digest

VERSION = 1
MAX_CHARACTERS_PER_TOKEN = 64


class TransformerText(Encoder):
    """Encodes an item's columns, laid into a template: `decode` gives token ids, `embed` the pooled vectors."""

    window = 8192

    def __init__(self, settings: TextEncoder) -> None:
        self.settings = settings
        self.folder = locate(settings)
        self.model = settings.weights
        self.batch_cost = settings.batch_tokens
        self.fields = [name for _, name, _, _ in string.Formatter().parse(settings.template) if name]
        meaning = settings.model_dump(exclude={"batch_tokens", "max_error_rate", "weights", "sha256"})
        self.key = digest("transformer", VERSION, meaning, check(settings, self.folder))

    def load(self) -> None:
        """Loads tokenizer and network. Raises WeightsError if the folder holds no safetensors of a known kind."""
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            network = AutoModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"weights {self.model}: not a transformers folder with safetensors ({reason})") from None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = network.eval().to(self.device)
        self.width = int(network.config.hidden_size)
        # `embed` pads by itself; asking the tokenizer for a longer text than the model reads would only warn.
        limit = getattr(network.config, "max_position_embeddings", self.settings.max_tokens)
        self.max_tokens = min(self.settings.max_tokens, limit)

    def decode(self, raw: bytes | Text) -> np.ndarray:
        """Token ids, shape (tokens,), int64, at most `max_tokens`."""
        if not isinstance(raw, Text):
            raise MediaError("no text")
        text = self.render(raw)
        clipped = text[: self.max_tokens * MAX_CHARACTERS_PER_TOKEN]
        tokens = self.tokenizer(clipped, truncation=True, max_length=self.max_tokens)["input_ids"]
        return np.asarray(tokens, dtype=np.int64)

    def render(self, raw: Text) -> str:
        """The text that is encoded.

        Raises MediaError if the columns that the template names, the title aside, are blank; ConfigError if one of
        them is not a column.
        """
        try:
            values = {name: (raw.columns[name] or "").strip() for name in self.fields}
        except KeyError as error:
            raise ConfigError(
                f"extract.text.template names {error}, which is no column of items ({', '.join(raw.columns)})"
            ) from None
        telling = [value for name, value in values.items() if name != "title"] or list(values.values())
        if not any(telling):
            raise MediaError("no text")
        return self.settings.template.format(**values)

    def cost(self, decoded: np.ndarray) -> int:
        """Its number of tokens: a batch is padded to its longest text."""
        return len(decoded)

    def embed(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Pooled token vectors: (n, width) float32."""
        import torch

        longest = max(len(tokens) for tokens in batch)
        padding = self.tokenizer.pad_token_id or 0
        ids = torch.full((len(batch), longest), padding, dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.from_numpy(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weights).sum(1) / weights.sum(1)
        pooled = hidden[:, 0] if self.settings.pooling == "cls" else mean
        return np.asarray(pooled.float().cpu())
