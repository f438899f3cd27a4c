"""An interaction's weight in training, where few items have most of the log.

    f_i = c_i^-p · sum_j c_j / sum_j c_j^(1 - p)        c: how often an item was chosen, so that f is 1 on average

An interaction's loss is weighed by f; or, by sampling, by a whole number drawn anew each epoch whose mean is f, so that
an interaction is left out or repeated.
"""

from __future__ import annotations

import numpy as np

from pipeline.config.training import Imbalance
from pipeline.interactions import Floats, Int32s, Int64s, Interactions


class Balance:
    """The factors of one log's items, and where they are drawn from."""

    def __init__(self, settings: Imbalance, counts: Int64s, generator: np.random.Generator) -> None:
        """counts: (n_items,) int64."""
        self.settings = settings
        self.drawn = settings.by == "sampling" and settings.popularity_power > 0
        self._generator = generator
        raised = np.maximum(counts, 1.0) ** -settings.popularity_power
        self._factors = (raised * counts.sum() / max((raised * counts).sum(), 1e-12)).astype(np.float32)

    def of(self, items: Int32s) -> Floats:
        """Weights of interactions with these items, besides the log's: as `items`, float32."""
        if not self.settings.popularity_power:
            return np.ones(items.shape, np.float32)
        factors = self._factors[items]
        if self.drawn:
            factors = np.floor(factors + self._generator.random(items.shape, np.float32))
        return factors

    def log_weight(self, log: Interactions) -> Floats:
        """The log's weights, where they count: (n,) float32."""
        return log.weight if self.settings.log_weight else np.ones(len(log), np.float32)
