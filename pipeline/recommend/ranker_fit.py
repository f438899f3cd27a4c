"""How a re-ranker is learned, and whether it is used.

- loss: binary cross-entropy on the pairs of `pairs.learned_from`, so that f is the logit among all pairs, not only
  among those drawn;
- stop: the epoch of the best NDCG@10 of re-ordered candidates, on one half of the validation part's users;
- whether it is used: if it ranks the other half better than the first stage does, by more than 1.645 standard errors,
  which chance alone does in 1 of 20 nights;
- calibration: f becomes a f + b, two numbers by logistic regression on the validation part's candidates (Platt 1999),
  because a first stage is surer of what it was fitted on, and because validation has a length of its own. a > 0, so no
  order changes. A probability is that of the user choosing the item within a time as long as the validation part.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.config.ranker import Ranker as Settings
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.recommend.contract import Epoch, Rows
from pipeline.recommend.engine import reproducible
from pipeline.recommend.moment import NOTHING, Items, Moment
from pipeline.recommend.pairs import Pairs, UserVectors, learned_from
from pipeline.recommend.propagation import pairs
from pipeline.recommend.ranker import Ranker, network_of

JUDGED_USERS = 10_000
JUDGED_AT = 10
SURE = 1.645
SMALLEST_SLOPE = 1e-3
CONSTANT = 1e-4


@dataclass(frozen=True)
class RankerFit:
    """How a fit went.

    pairs: learned from. used: whether re-ordering helps. users: of the validation part that this was judged on.
    before and after: their NDCG@10 by the first stage, and re-ordered. error: of the mean difference, paired.
    """

    epochs: int
    pairs: int
    used: bool = False
    users: int = 0
    before: float = 0.0
    after: float = 0.0
    error: float = 0.0
    curve: list[Epoch] = field(default_factory=list)


def fit_ranker(
    items: Items,
    user_vectors: UserVectors,
    train: Interactions,
    settings: Settings,
    seed: int,
    threads: int,
    validation: Interactions | None = None,
    chosen: tuple[int, Ranker] | None = None,
) -> tuple[Ranker, RankerFit] | None:
    """Learns from the training log; None if it has nothing to learn from.

    user_vectors: the first stage's, of a history. validation: chooses the epoch, a and b, and whether to re-order.
    chosen: for the fit that is published, the epochs to run and the ranker whose a and b to keep.
    """
    with reproducible(threads), torch.random.fork_rng(devices=[]):
        found = learned_from(items, user_vectors, train, settings, seed)
        if found is None:
            return None
        torch.manual_seed(seed)
        course = _Course(items, found, settings, seed, threads)
        if chosen:
            epochs, before = chosen
            for _ in range(epochs):
                course.epoch()
            course.network.slope, course.network.shift = before.network.slope, before.network.shift
            return course.ranker(), RankerFit(epochs, len(found))
        moment = Moment(items, user_vectors(train), train)
        if validation is None:
            validation = train.subset(np.zeros(len(train), bool))
        return course.search(Judged(moment, validation, settings.candidates))


class Judged:
    """Candidates of the users of a held-out part, (b, k) in the first stage's order, and which of them were chosen."""

    def __init__(self, moment: Moment, targets: Interactions, count: int) -> None:
        self.moment = moment
        wanted = pairs(targets)
        users = np.intersect1d(np.flatnonzero(np.diff(wanted.indptr)), moment.known_users())
        users = users[:: max(1, -(-len(users) // JUDGED_USERS))]
        owner = np.repeat(users, np.diff(wanted.indptr)[users])
        item = wanted[users].indices
        new = ~moment.taken(owner.astype(np.int32), item)
        self.users, self.wanted = np.unique(owner[new], return_counts=True)
        self.lists = moment.candidates(self.users, count)
        keys, width = owner[new] * targets.n_items + item[new], targets.n_items
        self.chosen: Mask = np.isin(self.users[:, None] * width + self.lists, keys) & (self.lists != NOTHING)
        row, column = np.nonzero(self.lists != NOTHING)
        self._scalars = moment.scalars(self.users[row], self.lists[row, column])

    def logits(self, ranker: Ranker) -> Floats:
        """What a ranker says of the candidates, (b, k) float32, -inf where there is none."""
        return ranker.of_lists(self.moment, self.users, self.lists, self._scalars)

    def ndcg(self, scores: Floats | None = None) -> npt.NDArray[np.float64]:
        """Each user's NDCG@10 of the candidates by scores, (b, k), or as the first stage has them: (b,) float64."""
        hits = self.chosen
        if scores is not None:
            hits = np.take_along_axis(hits, np.argsort(-scores, axis=1, kind="stable"), axis=1)
        hits = hits[:, :JUDGED_AT]
        gains = 1 / np.log2(np.arange(JUDGED_AT) + 2)
        ideal = np.cumsum(gains)[np.minimum(self.wanted, JUDGED_AT) - 1]
        return np.asarray((hits * gains[: hits.shape[1]]).sum(axis=1) / ideal)


class _Course:
    """One fit, epoch after epoch."""

    def __init__(self, items: Items, found: Pairs, settings: Settings, seed: int, threads: int) -> None:
        self.items, self.found, self.settings, self.threads = items, found, settings, threads
        self.network = network_of(items, settings)
        self.network.user_norm += np.linalg.norm(found.users, axis=1).mean() - 1
        self.network.mean += torch.from_numpy(found.scalars.mean(axis=0))
        spread = found.scalars.std(axis=0)
        # What never differed while learning says nothing after it.
        self.network.scale += torch.from_numpy(np.where(spread > CONSTANT, 1 / np.maximum(spread, CONSTANT), 0))
        # The draw's share of positives is where the bias begins: the loss is not spent on finding it.
        self.network.last.bias.data += float(np.log(found.chosen.mean() / (1 - found.chosen.mean() + 1e-9)))
        self.network.last.bias.data += float(found.log_rate.mean())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.generator = np.random.default_rng([seed, 7])

    def epoch(self) -> float:
        """One pass over the pairs; returns the mean loss."""
        self.network.train()
        order = self.generator.permutation(len(self.found))
        losses = []
        for start in range(0, len(order), self.settings.batch_pairs):
            loss = self._loss(order[start : start + self.settings.batch_pairs])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _loss(self, batch: Rows) -> Tensor:
        found = self.found
        users = self.network.user_side(found.users[found.user[batch]])
        items = self.network.item_side(self.items.modalities, found.item[batch])
        f = self.network(users, items, torch.from_numpy(found.scalars[batch]))
        chosen = torch.from_numpy(found.chosen[batch].astype(np.float32))
        return binary_cross_entropy_with_logits(f - torch.from_numpy(found.log_rate[batch]), chosen)

    def ranker(self) -> Ranker:
        """The network as it is."""
        return Ranker(self.network, self.items, self.threads)

    def search(self, judged: Judged) -> tuple[Ranker, RankerFit]:
        """Trains until the first half of the users judged is ranked no better, and lets the other half decide."""
        first = np.arange(len(judged.users)) % 2 == 0
        best, epoch, weights, curve = -1.0, 0, copy.deepcopy(self.network.state_dict()), []
        logits = np.zeros(judged.lists.shape, np.float32)
        for number in range(1, self.settings.max_epochs + 1):
            loss = self.epoch()
            now = judged.logits(self.ranker())
            ndcg = float(judged.ndcg(now)[first].mean()) if first.any() else 0.0
            curve.append({"epoch": number, "loss": loss, "ndcg@10": ndcg})
            if ndcg > best:
                best, epoch, weights, logits = ndcg, number, copy.deepcopy(self.network.state_dict()), now
            elif number - epoch >= self.settings.patience_epochs:
                break
        self.network.load_state_dict(weights)
        self._calibrate(judged, logits)
        before, after = judged.ndcg()[~first], judged.ndcg(logits)[~first]
        if len(before) < 2:
            return self.ranker(), RankerFit(epoch, len(self.found), curve=curve)
        error = float(np.std(after - before, ddof=1)) / len(before) ** 0.5
        means = float(before.mean()), float(after.mean())
        used = means[1] - means[0] > SURE * error
        return self.ranker(), RankerFit(epoch, len(self.found), used, len(before), *means, error, curve)

    def _calibrate(self, judged: Judged, logits: Floats) -> None:
        there = judged.lists != NOTHING
        f, chosen = logits[there].astype(np.float64)[:, None], judged.chosen[there]
        if chosen.any() and not chosen.all():
            found = LogisticRegression(C=1e6).fit(f, chosen)
            self.network.slope.fill_(max(float(found.coef_[0, 0]), SMALLEST_SLOPE))
            self.network.shift.fill_(float(found.intercept_[0]))
