"""How good probabilities are: accuracy, AUC, log-loss, and calibration with its reliability table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.interactions import Mask
from pipeline.storage.documents import Json

BINS = 10
Chances = npt.NDArray[np.float64]


def quality(chances: Chances, chosen: Mask) -> Json:
    """Of n pairs the share chosen, accuracy at ½, AUC, log-loss in nats, ECE and the table; empty without both kinds.

    chances: (n,) float64 in [0, 1]. chosen: (n,) bool. `constant_accuracy` and `constant_log_loss` are those of saying
    the share for every pair. ece: mean over pairs of the distance, in each of BINS bins of as many pairs, of the mean
    chance from the share chosen (Guo et al. 2017, with bins of equal mass, because most chances are small).
    """
    if not chosen.any() or chosen.all():
        return {}
    from sklearn.metrics import log_loss, roc_auc_score

    share = float(chosen.mean())
    table = reliability(chances, chosen)
    return {
        "pairs": len(chosen),
        "share_chosen": share,
        "accuracy": float(((chances >= 0.5) == chosen).mean()),
        "constant_accuracy": max(share, 1 - share),
        "auc": float(roc_auc_score(chosen, chances)),
        "log_loss": float(log_loss(chosen, chances)),
        "constant_log_loss": float(log_loss(chosen, np.full(len(chosen), share))),
        "ece": sum(row["pairs"] * abs(row["mean_chance"] - row["share_chosen"]) for row in table) / len(chosen),
        "reliability": table,
    }


def reliability(chances: Chances, chosen: Mask) -> list[Json]:
    """A row for each bin, chances ascending: the least, the greatest and the mean, the share chosen, and the pairs."""
    parts = np.array_split(np.argsort(chances, kind="stable"), min(BINS, len(chances)))
    return [
        {
            "low": float(chances[part].min()),
            "high": float(chances[part].max()),
            "mean_chance": float(chances[part].mean()),
            "share_chosen": float(chosen[part].mean()),
            "pairs": len(part),
        }
        for part in parts
    ]
