"""A causal language model reads what a user chose, as titles and as vectors, and says who the user is by now.

- history: a prompt, then every item's title and its fused vector as a soft token (`llm_network`), as E4SRec (Li et al.
  2023), LLaRA (Liao et al. 2024) and CoLLM (Zhang et al. 2023) give vectors to language models that they tune by LoRA
  (Hu et al. 2021). Theirs answer once for a history; here there is a vector for every moment of it;
- item: v_i = (W f + e + c) / |W f + e + c|, as in `sequence`: f the fused vector, e the item's own where it was ever
  chosen, c that of its semantic ids, if any. So a new item has a vector too;
- user: u = (v_last + H h) / |v_last + H h|, h the last hidden state at the user's last soft token. H starts as zeros:
  at first a user is the latest item, from which the language model learns to depart;
- score: u·v / temperature; loss: cross-entropy of the softmax over all items chosen in training, in large catalogues
  over a draw, corrected by the log of how often an item is expected in it, see `sequence`. Every item of a history but
  the first is a target of one pass, since the model is causal;
- tuning: `frozen` trains W, e, c and H alone. A history's hidden states are then always the same, so the language
  model reads it once and never again; `lora` adds low-rank updates of every linear layer, and the soft tokens;
  `full` trains everything;
- stop: the epoch that the gate's metric on the validation part finds best, full ranking.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.base import Section
from pipeline.config.kinds import Lazy
from pipeline.config.shared import SMOLLM2, WEIGHTS_FROM
from pipeline.config.train import TrainSettings
from pipeline.config.training import Averaging, Clip, Epochs
from pipeline.interactions import Int64s, Interactions
from pipeline.recommend.base import Content
from pipeline.recommend.models.sequence import HistoryModel, HistorySettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn.utils import rnn

    from pipeline.recommend import llm_checkpoint, llm_network
    from pipeline.recommend.sequence_batches import Batch
else:
    torch, rnn = Lazy("torch"), Lazy("torch.nn.utils.rnn")
    llm_network, llm_checkpoint = Lazy("pipeline.recommend.llm_network"), Lazy("pipeline.recommend.llm_checkpoint")

# Hidden states that a frozen model's histories are remembered by: 1 GB at a width of 576.
MOST_STATES = 450_000
INNER = "reader.network."


class Scratch(Section):
    """The shape of a model without a checkpoint: a Llama whose words are learned from the titles."""

    layers: int = Field(4, ge=1)
    width: int = Field(128, ge=2, description="a multiple of twice `heads`")
    heads: int = Field(4, ge=1)
    vocabulary: int = Field(2000, ge=300, description="pieces of words, at most")

    @field_validator("heads")
    @classmethod
    def _heads_share_the_width(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("width", 2 * heads) % (2 * heads):
            raise ValueError(f"twice of it must divide width, which is {info.data['width']}")
        return heads


class LlmSettings(HistorySettings):
    """Of the language model, what it reads, and how it is trained."""

    model: Literal["llm"] = "llm"
    max_epochs: Epochs = 20
    clip: Clip = 1.0
    averaging: Averaging = 0.98
    weights: str = Field(SMOLLM2, description=f"{WEIGHTS_FROM}; empty for a small model from scratch")
    sha256: str = Field("", description="expected sha256 of the weights file; empty for no check")
    gguf_file: str = Field("", description="name of a GGUF file in the weights' folder, to be read instead")
    scratch: Scratch = Scratch()
    kept_layers: int = Field(0, ge=0, description="first layers of the checkpoint that are used; 0 for all")
    tuning: Literal["frozen", "lora", "full"] = Field(
        "lora",
        description="what of the language model is trained: nothing (each history is then read once, not every epoch), "
        "low-rank updates, or all",
    )
    rank: int = Field(8, ge=1, description="lora: rank of the update of every linear layer")
    frozen_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of weights that are not trained; auto is bfloat16 where the machine multiplies in it"
    )
    prompt: str = Field("Chosen by one person, oldest first:", description="what every history opens with")
    title_tokens: int = Field(8, ge=0, description="tokens of a title that are read; 0 for vectors alone")
    history_items: int = Field(20, ge=3, description="latest interactions that are read")
    pieces_per_user: int = Field(4, ge=1, description="latest stretches of `history_items` that an epoch learns from")
    width: int = Field(256, ge=2, description="dimensions of item and user vectors")
    dropout: Annotated[float, Field(ge=0, lt=1, description="of the last hidden state")] = 0.3
    batch_positions: int = Field(256, ge=1, description="items of histories in one batch, with padding")
    learning_rate: float = Field(5e-4, gt=0, description="of everything but the language model")
    model_learning_rate: float = Field(2e-4, gt=0, description="of the language model, as far as it is trained")

    @field_validator("tuning")
    @classmethod
    def _scratch_is_trained(cls, tuning: str, info: ValidationInfo) -> str:
        if info.data.get("weights") == "" and tuning != "full":
            raise ValueError("must be full where weights are empty: a model from scratch knows nothing yet")
        return tuning


class LanguageModel(HistoryModel):
    """A language model that reads titles and vectors; its items are as those of `sequence`.

    The same bytes for the same seed, threads, device and input.
    """

    Settings = LlmSettings
    title = "LLM"
    purpose = "telling titles and long text-like histories, with time or a GPU to spare"
    reads = frozenset({"fused", "titles"})
    settings: LlmSettings
    _network: llm_network.Network

    @classmethod
    def weights_digest(cls, settings: TrainSettings) -> str:
        """See Model."""
        return llm_checkpoint.identity(settings) if isinstance(settings, LlmSettings) else ""

    def _saved(self) -> dict[str, Tensor]:
        """Without those weights of the language model that training left as they were."""
        trained, served = self._weights, super()._saved()
        return {name: value for name, value in served.items() if name in trained or not name.startswith(INNER)}

    def _prepare(self, content: Content, train: Interactions) -> None:
        self._pieces = llm_network.Stretches(train, self.settings, self.seed, self.processes)
        super()._prepare(content, train)
        network = llm_network.Network(content, train, self.settings, self.seed, self._generator)
        self._network = network.to(self.device)
        self._content = self._network.reader.content
        self._weights = self._network.trained()
        self._memory: dict[bytes, Tensor] = {}
        rates = {True: self.settings.model_learning_rate, False: self.settings.learning_rate}
        groups = [{"params": [weight], "lr": rates[name.startswith(INNER)]} for name, weight in self._weights.items()]
        self._optimizers = [torch.optim.AdamW(groups, weight_decay=self.settings.weight_decay)]

    def _batches(self) -> Iterator[Batch]:
        batches = super()._batches()
        # Its own dropout, where it has some, draws from a generator that a fit cannot go on with after a kill.
        self._network.reader.eval()
        return batches

    def _places(self) -> int:
        return self.settings.batch_positions

    def _last(self, items: Int64s, size: Int64s) -> Tensor:
        end = torch.arange(len(size)), torch.from_numpy(size - 1)
        last = torch.from_numpy(items)[end].to(self.device)
        return self._network.states(self._vectors[last], self._hidden(items, size)[end])

    def _states(self, batch: Batch, vectors: Tensor) -> Tensor:
        return self._network.states(vectors[batch.history.to(self.device)], self._moments(batch))

    def _moments(self, batch: Batch) -> Tensor:
        """The hidden states at the items of a batch's histories: [b x l x h]."""
        items = batch.codes.numpy()[batch.aims.chosen.numpy()]
        size = np.bincount(batch.aims.row.numpy(), minlength=len(items))
        if self.settings.tuning != "frozen":
            return self._hidden(items[:, :-1], size)
        # The last target is read as well: then this stretch is, to the letter, what a user's vector is made from.
        items[np.arange(len(items)), size] = items[:, -1]
        return self._hidden(items, size + 1)[:, :-1]

    def _hidden(self, items: Int64s, size: Int64s) -> Tensor:
        """The language model's last hidden states: [b x l x h]; those of a frozen one are read once."""
        if self.settings.tuning != "frozen":
            states: Tensor = self._network.reader(items, size)
            return states
        keys = [row[:length].tobytes() for row, length in zip(items, size, strict=True)]
        new = [at for at, key in enumerate(keys) if key not in self._memory]
        if new:
            with torch.no_grad():
                states = self._network.reader(items[new], size[new])
            self._memory |= {keys[at]: state[: size[at]].clone() for at, state in zip(new, states, strict=True)}
        hidden = rnn.pad_sequence([self._memory[key] for key in keys], batch_first=True)
        if len(self._memory) * self.settings.history_items > MOST_STATES:
            self._memory.clear()
        return hidden
