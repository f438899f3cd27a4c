"""Windows on a log: the latest choices of users before some moment; b users, h history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Int64s, Interactions, Mask

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


@dataclass(frozen=True)
class Windows:
    """The latest interactions of some users before some moment, newest first.

    item: [b x h] int64. present: [b x h] bool, false in padding. gap_days: [b x h] float32, older than the newest by.
    newer: [b x h] float32, how many in the window are strictly newer: what shares a moment shares its number.
    """

    item: Tensor
    present: Tensor
    gap_days: Tensor
    newer: Tensor

    def to(self, device: torch.device) -> Windows:
        """The same on another device."""
        moved = (tensor.to(device) for tensor in (self.item, self.present, self.gap_days, self.newer))
        return Windows(*moved)


def windows(log: Interactions, users: Int64s, ends: Int64s, length: int) -> Windows:
    """The last `length` interactions before row `ends` of the log, for each of `users`.

    users: (b,) codes. ends: (b,) rows of the log, one past the newest interaction to show.
    """
    return Windows(*(torch.from_numpy(array) for array in latest(log, users, ends, length)))


def latest(log: Interactions, users: Int64s, ends: Int64s, length: int) -> tuple[Int64s, Mask, Floats, Floats]:
    """The same as arrays, in the order of the fields of `Windows`: it takes no torch. The log has an interaction."""
    rows = ends[:, None] - 1 - np.arange(length)
    present = rows >= log.offsets()[users][:, None]
    rows = np.where(present, rows, 0)
    age_days = log.age_days[rows]
    gap_days = np.where(present, np.maximum(age_days - age_days[:, :1], 0), 0).astype(np.float32)
    later = np.concatenate([np.ones((len(ends), 1), bool), gap_days[:, 1:] > gap_days[:, :-1]], axis=1)
    newer = np.maximum.accumulate(np.where(later, np.arange(length), 0), axis=1).astype(np.float32)
    return log.item[rows].astype(np.int64), present, gap_days, newer
