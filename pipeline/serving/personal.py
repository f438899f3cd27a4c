"""Personal search: the mix of what is asked for and who asks, and which weight of the user is best.

    score = cosine + w · inner product, each in standard deviations among the query's candidates

No log tells what was typed before a choice. What stands for it are the catalogue's own words for a kind of items: the
values of its attributes, each asked by who went on to choose an item of that kind. Likeness to one item would be no
such query: the nearer the item that is asked for, the less is left for the user to decide, and w is what that nearness
makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.interactions import Floats, Mask

# Where nothing was measured.
USER_WEIGHT = 2.0
WEIGHTS = (0.5, 1.0, 2.0, 4.0, 8.0)
FEWEST_CANDIDATES, CANDIDATES_A_HIT = 200, 10
DEPTH = 10
# Of fewer queries, the best weight is chance.
FEWEST_QUERIES = 50


@dataclass(frozen=True)
class Asked:
    """One query of one user, whose m candidates are the query's best. cosines, products: (m,) float32.

    right: (m,) bool, what the user went on to choose of what was asked for. wanted: how many these are, among the
    candidates or not.
    """

    cosines: Floats
    products: Floats
    right: Mask
    wanted: int

    def ndcg(self, weight: float) -> float:
        """NDCG@10 of the order by a weight of the user."""
        order = np.argsort(-mixed(self.cosines, self.products, weight), kind="stable")[:DEPTH]
        gains = 1 / np.log2(np.arange(2, DEPTH + 2))
        return float(gains[: len(order)] @ self.right[order] / gains[: min(self.wanted, DEPTH)].sum())


def mixed(cosines: Floats, products: Floats, weight: float) -> Floats:
    """The scores above, (m,) float32. cosines, products: (m,) float32, of the query's candidates."""
    return standard(cosines) + np.float32(weight) * standard(products)


def candidates(k: int) -> int:
    """How many of a query's best are put in order for k answers."""
    return max(FEWEST_CANDIDATES, CANDIDATES_A_HIT * k)


def standard(scores: Floats) -> Floats:
    """Scores in standard deviations from their mean, float32; zeros where all are alike."""
    return np.asarray((scores - scores.mean()) / (scores.std() or 1), np.float32) if len(scores) else scores


def chosen(queries: Sequence[Asked]) -> tuple[float, dict[float, float]]:
    """The weight of the best mean NDCG@10, and that of each; USER_WEIGHT, and none, where the queries are too few."""
    if len(queries) < FEWEST_QUERIES:
        return USER_WEIGHT, {}
    means = {weight: float(np.mean([query.ndcg(weight) for query in queries])) for weight in WEIGHTS}
    return max(means, key=lambda weight: means[weight]), means
