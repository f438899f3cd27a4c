"""What every encoder that is a network shares: weights, an engine, and batches as arrays."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.shared import BOUNDS, Network
from pipeline.encoders.base import Encoder, Vectors
from pipeline.encoders.engine import engines
from pipeline.encoders.weights import check, is_joint, locate
from pipeline.workspace import digest

if TYPE_CHECKING:
    import torch

# Settings that decide where, how fast and how safely a network runs, and nothing of its vectors.
RUNNING = frozenset(
    {"weights", "sha256", "engine", "precision", "min_cosine", "auto_above_seconds", "batch_rows", "batch_tokens"}
    | BOUNDS
)


class NetworkEncoder(Encoder):
    """An encoder whose vectors a network computes, by whichever engine was chosen.

    `transformer` says how int8 treats it. A subclass gives `build` and `examples`.
    """

    transformer = False
    settings: Network

    def __init__(
        self, settings: Network, code: tuple[str, int], batch_cost: int, pooling: str = "", file: str = ""
    ) -> None:
        """code: name and version of what computes the vectors. file: of the weights' folder, if it is no usual one.

        pooling: of a transformers model; where it ends in a joint space, the weights name that. Raises WeightsError.
        """
        super().__init__()
        self.settings = settings
        self.path = self.locate()
        self.folder = self.path if self.path.is_dir() else self.path.parent
        self.model = settings.weights
        self.batch_cost, self.window = batch_cost, 4 * batch_cost
        weights = check(settings.weights, self.path, settings.sha256, file)
        self.identity = digest(*code, settings.model_dump(exclude=set(RUNNING)), weights)
        if pooling == "joint" or (pooling == "auto" and is_joint(self.folder)):
            self.space = weights

    def locate(self) -> Path:
        """Where the weights are. Raises WeightsError."""
        return locate(self.settings.weights)

    @abstractmethod
    def build(self) -> torch.nn.Module:
        """The network with its weights: takes what `collate` gives, as tensors, and returns (n, d) floats."""

    def collate(self, parts: Sequence[np.ndarray]) -> engines.Batch:
        """Lays parts side by side as the network's inputs; as it stands, parts of one shape as one array."""
        return (np.stack(parts),)

    @abstractmethod
    def examples(self) -> list[np.ndarray]:
        """Two parts, of unlike length where lengths may differ, to trace the network with."""

    def load(self) -> None:
        """Builds the network, applies what was adapted, and readies the engine. Raises WeightsError."""
        self.network = self.build()
        if self.settings.adapt and self.prepared.fitted and self.prepared.folder is not None:
            from pipeline.encoders.finetune import adapt

            self.network = adapt.restore(self.network, self.prepared.folder)
        self.use(engines.make(self.prepared, self.network, self.collate(self.examples())))

    def use(self, engine: engines.Engine) -> None:
        """Takes another engine for the same network."""
        self.engine = engine
        self.width = int(engine.run(self.collate(self.examples())).shape[1])

    def encode(self, parts: Sequence[np.ndarray]) -> Vectors:
        """Runs one batch: (n, width) float32, not of unit norm."""
        return self.engine.run(self.collate(parts))

    def encode_all(self, batches: Sequence[Sequence[np.ndarray]]) -> list[Vectors]:
        """Runs batches, as many side by side as the engine has streams."""
        if self.engine.streams == 1 or len(batches) < 2:
            return super().encode_all(batches)
        with ThreadPoolExecutor(self.engine.streams) as pool:
            return list(pool.map(self.encode, batches))
