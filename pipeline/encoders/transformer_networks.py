"""transformers models as networks that end in one vector: loading, towers of joint models, pooled tokens."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.encoders.weights import reason
from pipeline.errors import ConfigError, WeightsError
from pipeline.runtime import quiet

# The pooling that a sentence-transformers folder asks for, by its name there: a flag of older folders, or a mode.
POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "cls": "cls",
    "max": "max",
    "lasttoken": "last",
    "mean": "mean",
}


def load_model(folder: Path, described: str, gguf_file: str = "") -> Any:
    """A transformers model from a local folder of safetensors, or from a GGUF file in it, in fp32.

    Raises WeightsError if the folder holds none of a known kind.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = {"gguf_file": gguf_file} if gguf_file else {"use_safetensors": True}
    try:
        # Reading GGUF draws a progress bar that no setting turns off.
        with quiet(), redirect_stderr(io.StringIO()) if gguf_file else nullcontext():
            loaded = AutoModel.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **source
            )
    except Exception as error:  # besides its own, transformers lets through what safetensors and its models raise
        cause = reason(error)
        raise WeightsError(f"weights {described}: not a transformers folder with safetensors ({cause})") from None
    network: Any = loaded[0]
    _refuse_random(network, {*loaded[1]["missing_keys"], *(key for key, *_ in loaded[1]["mismatched_keys"])}, described)
    # Nothing is generated: a decoder's cache would cost memory, and engines that trace cannot follow it.
    if getattr(network.config, "use_cache", False):
        network.config.use_cache = False
    return network.eval()


def load_tokenizer(folder: Path, described: str, gguf_file: str = "") -> Any:
    """A transformers tokenizer from a local folder, or from a GGUF file in it.

    Raises WeightsError if there is none, or none that knows a word.
    """
    from transformers import AutoTokenizer

    more = {"gguf_file": gguf_file} if gguf_file else {}
    tokenizer = load_part(AutoTokenizer, folder, described, "tokenizer", **more)
    # Without its vocabulary's file, transformers makes a tokenizer that knows no word at all.
    files = ["tokenizer.json", *tokenizer.vocab_files_names.values()] if not gguf_file else []
    if len(files) > 1 and not any((folder / file).exists() for file in files):
        raise WeightsError(f"weights {described}: no tokenizer there (none of {', '.join(files)})")
    return tokenizer


def load_part(loader: Any, folder: Path, described: str, part: str, **more: str) -> Any:
    """What one of transformers' Auto classes reads of a local folder. Raises WeightsError, which names the part."""
    try:
        return loader.from_pretrained(folder, local_files_only=True, **more)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise WeightsError(f"weights {described}: no {part} of transformers there ({reason(error)})") from None


def _refuse_random(network: Any, missing: set[str], described: str) -> None:
    """Raises WeightsError if the files lack tensors that are read: transformers fills them with random numbers.

    A missing pooler, as of a checkpoint for classification, is taken away; a decoder beside an encoder is not read.
    """
    unread = {"pooler", "masked_spec_embed", *(["decoder"] if _paired(network) else [])}
    lacking = sorted(key for key in missing if key.split(".")[0] not in unread)
    if lacking:
        raise WeightsError(f"weights {described}: {len(lacking)} tensors of the network are not there, as {lacking[0]}")
    if any(key.startswith("pooler.") for key in missing):
        network.pooler = None


def pooling_of(folder: Path, network: Any) -> str:
    """How token vectors become one: as the folder's pooling file says; else joint, last or mean, by kind of network.

    Raises ConfigError if the file asks for what Medley does not do.
    """
    file = folder / "1_Pooling" / "config.json"
    if file.is_file():
        try:
            pooling = dict(json.loads(file.read_text("utf-8")))
        except (ValueError, TypeError):
            raise ConfigError(f"extract.text.pooling: {file} is not JSON; choose mean or another") from None
        flags = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True]
        wanted = pooling.get("pooling_mode") or flags or "mean"
        modes = [wanted] if isinstance(wanted, str) else wanted
        if len(modes) != 1 or modes[0] not in POOLINGS:
            raise ConfigError(f"extract.text.pooling: {file} asks for {' and '.join(modes)}; choose mean or another")
        return POOLINGS[modes[0]]
    if hasattr(network, "get_text_features"):
        return "joint"
    return "last" if is_causal(network) else "mean"


def is_causal(network: Any) -> bool:
    """Whether no token sees those after it, so that only the last one has seen the whole text."""
    causal = any(getattr(module, "is_causal", False) is True for module in network.modules())
    return causal and not _paired(network)


def _paired(network: Any) -> bool:
    """Whether it is an encoder with a decoder; the configuration of an encoder's own checkpoint says no."""
    return hasattr(network, "encoder") and hasattr(network, "decoder")


def longest_text(network: Any) -> int | None:
    """The most tokens that a model has positions for; None if it has no such bound."""
    limit = getattr(network.config.get_text_config(), "max_position_embeddings", None) or 0
    for name, module in network.named_modules():
        # RoBERTa and its kin count positions from after the padding's.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limit = min(limit, module.num_embeddings - module.padding_idx - 1)
    return limit if limit > 0 else None


def fixed_length(network: Any) -> int | None:
    """The length that every text is padded to, for a model that was trained so and reads its padding; else None."""
    return longest_text(network) if network.config.model_type.startswith("siglip") else None


class TextTower(nn.Module):
    """The text side of a joint model (CLIP, SigLIP, CLAP), projected into the joint space."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.reads_padding = fixed_length(network) is not None

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[n × t] and [n × t] to [n × d]. SigLIP was trained on padded texts without a mask, and reads them so."""
        if self.reads_padding:
            return self.network.get_text_features(input_ids=ids).pooler_output
        return self.network.get_text_features(input_ids=ids, attention_mask=mask).pooler_output


def text_tower(network: Any, kind: str, described: str) -> nn.Module:
    """The part of a model that reads text. Raises ConfigError if it has no joint space and one is asked for."""
    if kind == "joint":
        if not hasattr(network, "get_text_features"):
            raise ConfigError(f"extract.text.pooling: {described} has no joint space; choose mean, cls or another")
        return TextTower(network)
    if hasattr(network, "text_model"):
        return network.text_model
    if _paired(network):
        return network.get_encoder()
    return network


def pool(hidden: torch.Tensor, mask: torch.Tensor, kind: str) -> torch.Tensor:
    """Pools hidden [b × t × d] to [b × d], over the t positions whose mask [b × t] is 1, filled from the left.

    - mean: Reimers and Gurevych, "Sentence-BERT" (2019)
    - max: the largest value of each dimension
    - cls: the first position
    - last: the last position that is not padding, for causal models
    - attention: softmax(h·q / √d) over positions, q the mean: scaled dot-product attention (Vaswani et al. 2017)
      that asks with the text's own average
    """
    if kind == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    if kind == "last":
        last = (mask.sum(1) - 1).clamp(min=0).to(torch.long)
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1])).squeeze(1)
    if kind == "max":
        return (hidden + (weights - 1) * 1e9).max(dim=1).values
    mean = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    if kind == "mean":
        return mean
    scores = (hidden * mean[:, None]).sum(-1, keepdim=True) / hidden.shape[-1] ** 0.5
    attention = torch.softmax(scores + (weights - 1) * 1e9, dim=1)
    return (hidden * attention).sum(1)


class PooledTokens(nn.Module):
    """A text network and its pooling: token ids and mask, [n × t] int64 each, to [n × d]."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pools the last hidden state over the tokens that are not padding."""
        if isinstance(self.network, TextTower):
            return self.network(ids, mask)
        return pool(self.network(input_ids=ids, attention_mask=mask).last_hidden_state, mask, self.kind)


class PooledPixels(nn.Module):
    """A vision network and its pooling: [n × 3 × h × w] floats to [n × d].

    auto is the joint space where the model has one, else its pooled output, else its first token.
    """

    def __init__(self, network: Any, kind: str, described: str) -> None:
        super().__init__()
        joint = hasattr(network, "get_image_features")
        if kind == "joint" and not joint:
            raise ConfigError(f"extract.image.pooling: {described} has no joint space; choose cls or mean")
        self.kind = "joint" if kind == "auto" and joint else kind
        self.network: Any = network if self.kind == "joint" else getattr(network, "vision_model", network)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pools as `kind` says."""
        if self.kind == "joint":
            return self.network.get_image_features(pixel_values=pixels).pooler_output
        output = self.network(pixel_values=pixels)
        if self.kind == "auto" and getattr(output, "pooler_output", None) is not None:
            return output.pooler_output.flatten(1)
        hidden = output.last_hidden_state
        if hidden.ndim == 4:  # a convolutional model's map
            return hidden.mean((2, 3))
        return hidden.mean(1) if self.kind == "mean" else hidden[:, 0]
