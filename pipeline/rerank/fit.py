"""How a re-ranker is learned, and whether it is used.

- pairs: those of `shown.learned_from_shown`, where the source tells what was shown, or those of `pairs.learned_from`.
  Where `rerank.learn_from` is auto, there is a fit of each, and the one whose stop is better stays;
- loss: binary cross-entropy. Learned from what was shown, f is the logit of choosing it when shown; from drawn pairs,
  the logit among all pairs, not only among those drawn;
- stop: the epoch of the best NDCG@10 of re-ordered candidates, on one half of the validation part's users;
- whether it is used: if it ranks the other half better than the first stage does, by more than 1.645 standard errors,
  which chance alone does in 1 of 20 nights;
- calibration: f becomes a f + b, two numbers by logistic regression (Platt 1999) on what was shown in the validation
  part, or else on that part's candidates, because a first stage is surer of what it was fitted on, and because
  validation has a length of its own. a > 0, so no order changes. A probability is that of the user choosing the item
  within `rerank.chosen_within_days` of being shown it, or else within a time as long as the validation part.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.artefacts.reranked import RankerFit
from pipeline.config.rerank import Rerank as Settings
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.recommend.base import Rows
from pipeline.rerank.candidates import Candidates
from pipeline.rerank.impressions import labelled, learned_from_shown, pairs_of
from pipeline.rerank.network import Ranker, network_of
from pipeline.rerank.pairs import Pairs, UserVectors, learned_from
from pipeline.rerank.snapshot import NOTHING, Catalogue, Snapshot
from pipeline.training.torch_runtime import reproducible

SURE = 1.645
SMALLEST_SLOPE = 1e-3
CONSTANT = 1e-4


@dataclass(frozen=True)
class Part:
    """What users chose in a part of the log, and what they were shown in it."""

    chosen: Interactions
    shown: Interactions

    @staticmethod
    def without_shown(chosen: Interactions) -> Part:
        """Where nothing tells what was shown."""
        return Part(chosen, chosen.subset(np.zeros(len(chosen), bool)))


def fit_ranker(
    catalogue: Catalogue,
    user_vectors: UserVectors,
    train: Part,
    settings: Settings,
    seed: int,
    threads: int,
    validation: Part | None = None,
    chosen: tuple[int, Ranker] | None = None,
) -> tuple[Ranker, RankerFit] | None:
    """Learns from the training part; None if it has nothing to learn from.

    user_vectors: the first stage's, of a history. validation: chooses the pairs, the epoch, a and b, and whether
    to re-order. chosen: for the fit that is published, the epochs to run and the ranker whose a and b to keep.
    """
    with reproducible(threads), torch.random.fork_rng(devices=[]):
        found = _pairs(catalogue, user_vectors, train, settings, seed)
        if not found:
            return None
        if chosen:
            ((source, learnt),) = found.items()
            return _Course(source, catalogue, learnt, settings, seed, threads).repeat(*chosen)
        validation = validation or Part.without_shown(train.chosen.subset(np.zeros(len(train.chosen), bool)))
        snapshot = Snapshot(catalogue, user_vectors(train.chosen), train.chosen)
        labels = labelled(validation.shown, train.chosen.concat(validation.chosen), settings.chosen_within_days)
        shown = pairs_of(snapshot, *labels, settings, np.random.default_rng([seed, 10]))
        candidates = Candidates(snapshot, validation.chosen, settings.candidates)
        fits = [
            _Course(source, catalogue, learnt, settings, seed, threads).search(candidates, shown)
            for source, learnt in found.items()
        ]
        by_source = {fit.learned_from: max(epoch["ndcg@10"] for epoch in fit.curve) for _, fit in fits}
        ranker, fit = max(fits, key=lambda one: by_source[one[1].learned_from])
        return ranker, replace(fit, by_source=by_source)


def _pairs(
    catalogue: Catalogue, user_vectors: UserVectors, train: Part, settings: Settings, seed: int
) -> dict[str, Pairs]:
    """What there is to learn from of what the settings want, by where it is from: `shown`, `sampled`."""
    found: dict[str, Pairs | None] = {}
    if settings.learn_from != "sampled" and len(train.shown):
        shown = learned_from_shown(catalogue, user_vectors, train.chosen, train.shown, settings, seed)
        enough = shown is not None and shown.chosen.sum() >= settings.min_shown_choices
        found["shown"] = shown if enough or settings.learn_from == "shown" else None
    if settings.learn_from != "shown":
        found["sampled"] = learned_from(catalogue, user_vectors, train.chosen, settings, seed)
    return {source: learnt for source, learnt in found.items() if learnt is not None}


class _Course:
    """One fit, epoch after epoch."""

    def __init__(
        self, source: str, catalogue: Catalogue, found: Pairs, settings: Settings, seed: int, threads: int
    ) -> None:
        """source: of the pairs found, see `RankerFit.learned_from`."""
        self.catalogue, self.found, self.settings, self.threads = catalogue, found, settings, threads
        self.how = RankerFit(source, 0, len(found), int(found.chosen.sum()))
        torch.manual_seed(seed)
        self.network = network_of(catalogue, settings)
        self.network.user_mean += torch.from_numpy(found.users[found.user].mean(axis=0))
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
        items = self.network.item_side(self.catalogue.modalities, found.item[batch])
        f = self.network(users, items, torch.from_numpy(found.scalars[batch]))
        chosen = torch.from_numpy(found.chosen[batch].astype(np.float32))
        return binary_cross_entropy_with_logits(f - torch.from_numpy(found.log_rate[batch]), chosen)

    def ranker(self) -> Ranker:
        """The network as it is."""
        return Ranker(self.network, self.catalogue, self.threads)

    def repeat(self, epochs: int, before: Ranker) -> tuple[Ranker, RankerFit]:
        """Trains for so many epochs, and keeps a and b of a ranker before."""
        for _ in range(epochs):
            self.epoch()
        self.network.slope, self.network.shift = before.network.slope, before.network.shift
        return self.ranker(), replace(self.how, epochs=epochs)

    def search(self, candidates: Candidates, shown: Pairs) -> tuple[Ranker, RankerFit]:
        """Trains until the first half of the candidates' users is ranked no better, and lets the other half decide.

        shown: what was shown in the validation part, which a fit that learned from such pairs is calibrated on.
        """
        first = np.arange(len(candidates.users)) % 2 == 0
        best, epoch, weights, curve = -1.0, 0, copy.deepcopy(self.network.state_dict()), []
        logits = np.zeros(candidates.lists.shape, np.float32)
        for number in range(1, self.settings.max_epochs + 1):
            loss = self.epoch()
            now = candidates.logits(self.ranker())
            ndcg = float(candidates.ndcg(now)[first].mean()) if first.any() else 0.0
            curve.append({"epoch": number, "loss": loss, "ndcg@10": ndcg})
            if ndcg > best:
                best, epoch, weights, logits = ndcg, number, copy.deepcopy(self.network.state_dict()), now
            elif number - epoch >= self.settings.patience_epochs:
                break
        self.network.load_state_dict(weights)
        if self.how.learned_from == "shown":
            self._calibrate(self.ranker().logits(shown.users, shown.user, shown.item, shown.scalars), shown.chosen)
        else:
            there = candidates.lists != NOTHING
            self._calibrate(logits[there], candidates.chosen[there])
        how = replace(self.how, epochs=epoch, curve=curve)
        before, after = candidates.ndcg()[~first], candidates.ndcg(logits)[~first]
        if len(before) < 2:
            return self.ranker(), how
        error = float(np.std(after - before, ddof=1)) / len(before) ** 0.5
        means = float(before.mean()), float(after.mean())
        used = means[1] - means[0] > SURE * error
        told = {"before": means[0], "after": means[1], "error": error}
        return self.ranker(), replace(how, used=used, users=len(before), **told)

    def _calibrate(self, f: Floats, chosen: Mask) -> None:
        if chosen.any() and not chosen.all():
            found = LogisticRegression(C=1e6).fit(f.astype(np.float64)[:, None], chosen)
            self.network.slope.fill_(max(float(found.coef_[0, 0]), SMALLEST_SLOPE))
            self.network.shift.fill_(float(found.intercept_[0]))
