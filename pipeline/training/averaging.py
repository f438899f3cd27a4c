"""The running mean of weights over steps, which passes only what a step touched.

    m_t = β m_{t-1} + (1 - β) w_t

A row of a table that no step touched since step s has w_t = w_s, so that m_t = w_s + β^(t - s) (m_s - w_s): it is made
when the row is touched next, and at the end of an epoch, which is when the mean is read: so that neither a look at it
nor a kill changes how it is rounded. Rows touched are those of sparse gradients; other weights move at every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn


class RunningMean:
    """The mean of a learner's weights."""

    def __init__(
        self,
        share: float,
        means: Mapping[str, Tensor],
        steps: int,
        weights: Mapping[str, Tensor],
        optimizers: Sequence[Optimizer],
    ) -> None:
        """share: β. means: of the first `steps` steps, by name; they are moved in place. weights: the learned ones.

        optimizers: those that move the weights; each is asked for the rows that it is about to move.
        """
        self.share, self._means, self._steps, self._weights = share, means, steps, weights
        # Of each table with sparse gradients, the step that a row's mean is of: (n_rows,) int64.
        self._settled: dict[str, Tensor] = {}
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(lambda *_: self._settle_touched())

    @torch.no_grad()
    def add(self) -> None:
        """Takes in a step that is over."""
        self._steps += 1
        weights = {name: weight for name, weight in self._weights.items() if name not in self._settled}
        if weights:
            mean = get_ema_multi_avg_fn(self.share)
            mean([self._means[name] for name in weights], [*weights.values()], self._steps)

    @torch.no_grad()
    def settle(self) -> None:
        """Makes every row's mean that of the last step."""
        for name in self._settled:
            self._settle(name, self._weights[name], slice(None))

    @torch.no_grad()
    def _settle_touched(self) -> None:
        for name, weight in self._weights.items():
            if weight.grad is not None and weight.grad.is_sparse:
                if name not in self._settled:
                    self._settled[name] = torch.full((len(weight),), self._steps, device=weight.device)
                self._settle(name, weight, weight.grad._indices()[0].unique())

    def _settle(self, name: str, weight: Tensor, rows: Tensor | slice) -> None:
        lag = (self._steps - self._settled[name][rows]).to(weight.dtype)
        faded = (self.share**lag).reshape(-1, *[1] * (weight.dim() - 1))
        self._means[name][rows] = torch.lerp(weight[rows], self._means[name][rows], faded)
        self._settled[name][rows] = self._steps
