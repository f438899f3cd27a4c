"""ranker: how likely a user is to choose an item, from everything that is known of both; it re-orders candidates.

    p = σ(f),   f = FC([tower_user(u) | tower_m(f_m) of each modality m | tower_counts(c)]) + w · c

a tower is a fully connected layer and ReLU, and FC two of those and a linear one. u is the first stage's user vector,
f_m the item's own vectors, and c the numbers of `Moment.scalars`, standardised; w · c is the wide part of Wide & Deep
(Cheng et al. 2016). A missing modality has a learned vector in its tower's place.

- loss: binary cross-entropy on the pairs of `pairs.learned_from`, so that f is the logit among all pairs, not only
  among those drawn;
- stop: the epoch of the best NDCG@10 of re-ordered candidates, on one half of the validation part's users;
- whether it is used: if it ranks the other half better than the first stage does, by more than one standard error;
- calibration: f becomes a f + b, two numbers by logistic regression on the validation part's candidates (Platt 1999),
  because a first stage is surer of what it was fitted on, and because validation has a length of its own. a > 0, so no
  order changes. A probability is that of the user choosing the item within a time as long as the validation part.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.config.ranker import Ranker as Settings
from pipeline.errors import ShardCorrupt
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.recommend.contract import Epoch, Rows
from pipeline.recommend.engine import reproducible
from pipeline.recommend.pairs import NOTHING, Items, Moment, Pairs, UserVectors, learned_from, pairs

RANKER_FILE = "ranker.safetensors"
JUDGED_USERS = 10_000
JUDGED_AT = 10
BLOCK_ITEMS = 4096
BLOCK_USERS = 256
SMALLEST_SLOPE = 1e-3


class Network(nn.Module):
    """See above; the numbers that inputs are scaled by, and a and b, are kept among the weights."""

    user_norm: Tensor
    mean: Tensor
    spread: Tensor
    slope: Tensor
    shift: Tensor

    def __init__(self, user_width: int, widths: dict[str, int], scalars: int, settings: Settings) -> None:
        """widths: of each modality's vectors."""
        super().__init__()
        width, hidden = settings.width, settings.hidden
        self.user = nn.Linear(user_width, width)
        self.modalities = nn.ModuleDict({name: nn.Linear(size, width) for name, size in widths.items()})
        self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in widths})
        self.counts = nn.Linear(scalars, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.first = nn.Linear(width * (2 + len(widths)), hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 1)
        self.wide = nn.Linear(scalars, 1, bias=False)
        for name, value in {"user_norm": torch.ones(()), "mean": torch.zeros(scalars), "spread": torch.ones(scalars),
                            "slope": torch.ones(()), "shift": torch.zeros(())}.items():  # fmt: skip
            self.register_buffer(name, value)

    def item_side(self, modalities: dict[str, tuple[Floats, Mask]], codes: Rows) -> Tensor:
        """The towers of some items: [n x width · modalities]."""
        towers = [torch.zeros(len(codes), 0)]
        for name, tower in self.modalities.items():
            vectors, present = (torch.from_numpy(part[codes]) for part in modalities[name])
            towers.append(torch.where(present[:, None], torch.relu(tower(vectors)), self.missing[name]))
        return torch.cat(towers, dim=1)

    def user_side(self, users: Floats) -> Tensor:
        """The tower of some users: [n x width]."""
        return torch.relu(self.user(torch.from_numpy(users) / self.user_norm))

    def forward(self, users: Tensor, items: Tensor, scalars: Tensor) -> Tensor:
        """f, not calibrated, of n pairs: [n]. users and items: their sides, a row for each pair. scalars: [n x s]."""
        counts = (scalars - self.mean) / self.spread
        joined = self.dropout(torch.cat([users, items, torch.relu(self.counts(counts))], dim=1))
        hidden = self.dropout(torch.relu(self.first(joined)))
        deep: Tensor = self.last(torch.relu(self.second(hidden)))
        return (deep + self.wide(counts))[:, 0]


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


class Ranker:
    """A fitted network, and the item side of one catalogue."""

    def __init__(self, network: Network, items: Items, threads: int) -> None:
        self.network = network.eval()
        self.threads = threads
        self.items = items
        with torch.no_grad(), reproducible(threads):
            sides = [
                network.item_side(items.modalities, np.arange(at, min(at + BLOCK_ITEMS, len(items.vectors))))
                for at in range(0, len(items.vectors), BLOCK_ITEMS)
            ]
        self._sides = torch.cat(sides)

    @torch.no_grad()
    def logits(self, users: Floats, user: Rows, item: Rows, scalars: Floats) -> Floats:
        """a f + b of n pairs, (n,) float32. users: (m, d). user: (n,) rows of it. item: (n,) codes."""
        with reproducible(self.threads):
            side = self.network.user_side(users)
            f = self.network(
                side[torch.from_numpy(user)], self._sides[torch.from_numpy(item)], torch.from_numpy(scalars)
            )
            return np.asarray((self.network.slope * f + self.network.shift).numpy(), np.float32)

    def of_lists(self, moment: Moment, users: Rows, lists: Rows, scalars: Floats | None = None) -> Floats:
        """The logits of each user's candidates, (b, k) float32, -inf where there is none.

        scalars: of the candidates there are, row after row, where they are known already.
        """
        found = np.full(lists.shape, -np.inf, np.float32)
        row, column = np.nonzero(lists != NOTHING)
        starts = np.searchsorted(row, np.arange(0, len(users) + BLOCK_USERS, BLOCK_USERS))
        for start, stop in pairwise(starts):
            some, code = row[start:stop], lists[row[start:stop], column[start:stop]]
            if len(some):
                numbers = moment.scalars(users[some], code) if scalars is None else scalars[start:stop]
                own = moment.users[users[some[0] : some[-1] + 1]]
                found[some, column[start:stop]] = self.logits(own, some - some[0], code, numbers)
        return found

    def reordered(self, moment: Moment, users: Rows, lists: Rows) -> tuple[Rows, Floats]:
        """Candidates likeliest first, equals as they were, and their probabilities, 0 where there is no item."""
        logits = self.of_lists(moment, users, lists)
        order = np.argsort(-logits, axis=1, kind="stable")
        chances = 1 / (1 + np.exp(-np.take_along_axis(logits, order, axis=1)))
        return np.take_along_axis(lists, order, axis=1), chances.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes `ranker.safetensors`."""
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, folder / RANKER_FILE)


def load_ranker(folder: Path, items: Items, settings: Settings, threads: int) -> Ranker:
    """What `Ranker.save` wrote. Raises ShardCorrupt if it is not that."""
    network = _network(items, settings)
    try:
        network.load_state_dict(load_file(folder / RANKER_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ShardCorrupt(
            f"{folder / RANKER_FILE}: not the weights of this night's ranker ({str(error).splitlines()[0]}); "
            "run the night with --full"
        ) from None
    return Ranker(network, items, threads)


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
        self.network = _network(items, settings)
        self.network.user_norm += np.linalg.norm(found.users, axis=1).mean() - 1
        self.network.mean += torch.from_numpy(found.scalars.mean(axis=0))
        self.network.spread *= torch.from_numpy(np.maximum(found.scalars.std(axis=0), 1e-6))
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
        used = means[1] - means[0] > error
        return self.ranker(), RankerFit(epoch, len(self.found), used, len(before), *means, error, curve)

    def _calibrate(self, judged: Judged, logits: Floats) -> None:
        there = judged.lists != NOTHING
        f, chosen = logits[there].astype(np.float64)[:, None], judged.chosen[there]
        if chosen.any() and not chosen.all():
            found = LogisticRegression(C=1e6).fit(f, chosen)
            self.network.slope.fill_(max(float(found.coef_[0, 0]), SMALLEST_SLOPE))
            self.network.shift.fill_(float(found.intercept_[0]))


def _network(items: Items, settings: Settings) -> Network:
    widths = {name: vectors.shape[1] for name, (vectors, _) in items.modalities.items()}
    return Network(items.vectors.shape[1], widths, items.scalars, settings)
