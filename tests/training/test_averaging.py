"""The running mean is the one that passes every weight at every step, whichever rows a step touches."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import embedding

from pipeline.training.averaging import RunningMean

ROWS, SHARE = 12, 0.9


@pytest.mark.parametrize("read_every", [1, 3, 50])
def test_rows_that_steps_leave_alone_have_the_mean_of_a_full_pass(read_every: int) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(ROWS, 3, generator=generator, requires_grad=True)
    bias = torch.randn(ROWS, 1, generator=generator, requires_grad=True)
    dense = torch.randn(3, generator=generator, requires_grad=True)
    weights = {"table": table, "bias": bias, "dense": dense}
    optimizers = [torch.optim.SparseAdam([table, bias], lr=0.1), torch.optim.SGD([dense], lr=0.1)]
    means = {name: weight.detach().clone() for name, weight in weights.items()}
    expected = {name: mean.clone() for name, mean in means.items()}
    running = RunningMean(SHARE, means, 1, weights, optimizers)
    for step in range(1, 51):
        # The last two rows are never touched, and rows come more than once.
        rows = torch.randint(0, ROWS - 2, (4,), generator=generator)
        vectors, biases = (embedding(rows, part, sparse=True) for part in (table, bias))
        loss = ((vectors @ dense + biases[:, 0] - 1) ** 2).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        running.add()
        for name, weight in weights.items():
            expected[name].lerp_(weight.detach(), 1 - SHARE)
        if step % read_every == 0:
            running.settle()
            for name, mean in means.items():
                torch.testing.assert_close(mean, expected[name], rtol=1e-5, atol=1e-6)
