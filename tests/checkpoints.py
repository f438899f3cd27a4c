"""Small transformers checkpoints with random weights, written to a folder as their authors publish them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    ClapConfig,
    ClapModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from pipeline.config import Config
from pipeline.encoders import Text, make
from pipeline.encoders.text.kinds.transformer import TransformerTextEncoder

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 200,
}
VISION: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
del VISION["vocab_size"]
# What each family puts around a text, and what it pads with.
FRAMES = {
    "bert": ("[CLS] $A [SEP]", "[PAD]"),
    "roberta": ("<s> $A </s>", "<pad>"),
    "clap": ("<s> $A </s>", "<pad>"),
    "t5": ("$A </s>", "<pad>"),
    "qwen3": ("$A <|endoftext|>", "<|endoftext|>"),
    "clip": ("<|startoftext|> $A <|endoftext|>", "<|endoftext|>"),
    "siglip": ("$A </s>", "</s>"),
}
SPECIAL = ["<s>", "<pad>", "</s>", "[PAD]", "[CLS]", "[SEP]", "<|startoftext|>", "<|endoftext|>", "[UNK]"]


def write(family: str, folder: Path) -> Path:
    """Writes one family's checkpoint and what it comes with: a tokenizer, an image processor, or both."""
    torch.manual_seed(7)
    network = NETWORKS[family]()
    for name, weight in network.named_parameters():
        # Larger than what training starts from: vectors of unlike texts must differ visibly.
        gain = weight.ndim == 1 and "norm" in name.lower() and name.endswith("weight")
        torch.nn.init.normal_(weight, float(gain), 0.4 if weight.ndim > 1 else 0.2)
    network.eval().save_pretrained(folder)
    if family in FRAMES:
        tokenizer(family).save_pretrained(folder)
    if family in PROCESSORS:
        PROCESSORS[family]().save_pretrained(folder)
    return folder


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single letters, framed as the family does."""
    frame, padding = FRAMES[family]
    vocabulary = {token: at for at, token in enumerate([*SPECIAL, *map(chr, range(32, 127))])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    named = [token for token in frame.split() if token != "$A"]
    core.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[(token, vocabulary[token]) for token in named]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=padding, unk_token="[UNK]", eos_token=named[-1], model_max_length=512
    )


def _ids(**named: str) -> dict[str, int]:
    return {name: SPECIAL.index(token) for name, token in named.items()}


def _clip() -> CLIPModel:
    text = {**SIZES, "max_position_embeddings": 40, **_ids(eos_token_id="<|endoftext|>", pad_token_id="<|endoftext|>")}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12))


def _siglip() -> SiglipModel:
    text = {
        **SIZES,
        "max_position_embeddings": 24,
        "projection_size": 16,
        **_ids(eos_token_id="</s>", pad_token_id="</s>"),
    }
    return SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))


def _clap() -> ClapModel:
    text = {**SIZES, "max_position_embeddings": 40, "pad_token_id": 1}
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 8,
    }
    audio |= {"hidden_size": 16, "patch_size": 4, "window_size": 4, "patch_stride": [4, 4], "num_hidden_layers": 2}
    return ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12))


def _t5() -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(
        T5Config(vocab_size=200, d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2, pad_token_id=1)
    )


NETWORKS = {
    "bert": lambda: BertModel(BertConfig(**SIZES, pad_token_id=3)),
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZES, max_position_embeddings=42, pad_token_id=1)),
    "t5": _t5,
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=8)),
    "clip": _clip,
    "siglip": _siglip,
    "clap": _clap,
    "dinov2": lambda: Dinov2Model(Dinov2Config(**VISION)),
    "vit": lambda: ViTModel(ViTConfig(**VISION)),
}
_SMALL: dict[str, Any] = {"size": {"height": 32, "width": 32}}
_SHORTEST: dict[str, Any] = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
PROCESSORS = {
    "clip": lambda: CLIPImageProcessor(**_SHORTEST),
    "siglip": lambda: SiglipImageProcessor(**_SMALL),
    "dinov2": lambda: CLIPImageProcessor(**_SHORTEST),
    "vit": lambda: ViTImageProcessor(**_SMALL),
}


def text_encoder(folder: Path | None = None, **settings: object) -> TransformerTextEncoder:
    """The loaded text encoder of a checkpoint's folder, or of the usual weights; an item's text alone is encoded."""
    where = {"weights": f"path:{folder}"} if folder else {}
    config = Config.model_validate({"extract": {"text": {"template": "{text}", **where, **settings}}})
    encoder = make(config, "text")
    assert isinstance(encoder, TransformerTextEncoder)
    encoder.load()
    return encoder


def text_vectors(encoder: TransformerTextEncoder, texts: Sequence[str], query: bool = False) -> np.ndarray:
    """The vectors of some texts, as of items or as of queries."""
    return encoder.embed([encoder.decode(Text({"text": text}, query)) for text in texts])
