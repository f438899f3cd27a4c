"""Causal language models and their tokenizers: from a checkpoint, from a GGUF file re-saved once, or from scratch."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.encoders.engine.engines import computes_bf16
from pipeline.encoders.finetune.adapt import blocks_of
from pipeline.encoders.transformer_networks import is_causal, load_model, load_tokenizer
from pipeline.encoders.weights import check, files_of, locate
from pipeline.errors import ConfigError, WeightsError
from pipeline.recommend.models.llm import LlmSettings, Scratch

PAD = "<pad>"


def identity(settings: LlmSettings) -> str:
    """A digest of the checkpoint's weights and tokenizer; empty for a model from scratch. Raises WeightsError."""
    return (
        check(settings.weights, locate(settings.weights), settings.sha256, settings.gguf_file)
        if settings.weights
        else ""
    )


def language_model(settings: LlmSettings, titles: Sequence[str], seed: int) -> tuple[Any, Any]:
    """A transformers model without its head over words, with what is trained marked so, and its tokenizer.

    What is not trained is in bfloat16 where `frozen_precision` says so, what is trained in float32. titles: what a
    tokenizer from scratch is made of. Raises WeightsError for weights that are not there, or of a model that is not
    causal; ConfigError for more layers than it has.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.weights:
            folder = _folder(settings)
            tokenizer = load_tokenizer(folder, settings.weights)
            network = load_model(folder, settings.weights)
        else:
            tokenizer = _tokenizer(titles, settings.scratch)
            network = _llama(settings.scratch, len(tokenizer))
        if not is_causal(network):
            raise WeightsError(
                f"weights {settings.weights}: the model reads a text both ways; llm needs a causal language model"
            )
        _shorten(network, settings)
        return _prepared(network, settings), tokenizer


def _prepared(network: Any, settings: LlmSettings) -> Any:
    network.requires_grad_(settings.tuning == "full")
    precision = settings.frozen_precision
    low = computes_bf16() if precision == "auto" else precision == "bfloat16"
    if settings.tuning != "full" and low:
        network.to(torch.bfloat16)
    if settings.tuning == "lora":
        _add_lora(network, settings.rank)
    return network


def _add_lora(network: Any, rank: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    layers = [
        f"{prefix}.{name}".strip(".")
        for prefix, block in blocks_of(network)
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers), network)
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def _shorten(network: Any, settings: LlmSettings) -> None:
    """Keeps the first layers alone."""
    if not settings.kept_layers:
        return
    blocks = blocks_of(network)
    if settings.kept_layers > len(blocks):
        raise ConfigError(
            f"train.kept_layers: the model has {len(blocks)} layers, not {settings.kept_layers}; 0 keeps them all"
        )
    parent, _, name = blocks[0][0].rpartition(".")[0].rpartition(".")
    holder = network.get_submodule(parent)
    setattr(holder, name, nn.ModuleList([block for _, block in blocks[: settings.kept_layers]]))
    network.config.num_hidden_layers = settings.kept_layers


def _folder(settings: LlmSettings) -> Path:
    """A folder of safetensors, after the weights' sha256 was checked."""
    path = locate(settings.weights)
    digest = check(settings.weights, path, settings.sha256, settings.gguf_file)
    (file, *_) = files_of(path, settings.gguf_file)
    if file.suffix != ".gguf":
        return path if path.is_dir() else path.parent
    return _resaved(file, settings.weights, digest)


def _resaved(file: Path, described: str, digest: str) -> Path:
    """A GGUF file's model as bf16 safetensors, in the user's cache: the next reading takes 1 s of a core instead of 35.

    It came from few bits a weight, so that bf16 loses nothing that was there.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medley" / digest
    if cache.is_dir():
        return cache
    network = load_model(file.parent, described, file.name)
    tokenizer = load_tokenizer(file.parent, described, file.name)
    # A model made anew from a configuration that names no quantisation: transformers refuses to save the one it read.
    del network.config.quantization_config
    plain = type(network)(network.config).to(torch.bfloat16)
    plain.load_state_dict(network.state_dict())
    written = cache.with_name(f"{digest}.{uuid.uuid4().hex}")
    try:
        plain.save_pretrained(written)
        tokenizer.save_pretrained(written)
        os.rename(written, cache)
    except OSError as error:
        if not cache.is_dir():  # else another process was first
            raise WeightsError(
                f"weights {described}: {cache.parent} cannot be written ({error.strerror}); set XDG_CACHE_HOME"
            ) from None
    finally:
        shutil.rmtree(written, ignore_errors=True)
    return cache


def _llama(shape: Scratch, vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=8192,
        use_cache=False,
    )
    return LlamaModel(config).eval()


def _tokenizer(titles: Sequence[str], shape: Scratch) -> Any:
    """Byte-pair encoding learned from the titles."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary, special_tokens=[PAD], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(titles, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=PAD)
