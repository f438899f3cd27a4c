"""How a re-ranker is learned, and whether it is used.

- pairs: those of `shown.learned_from_shown`, where the source tells what was shown, or those of `pairs.learned_from`.
  Where `rerank.learn_from` is auto, there is a fit of each, and the one whose stop is better stays;
- loss: binary cross-entropy. Learned from what was shown, f is the logit of choosing it when shown; from drawn pairs,
  the logit among all pairs, not only among those drawn;
- an epoch: all pairs, or of many so many that are drawn anew;
- stop: the epoch of the best re-ordered candidates by the gate's metric, on one half of the validation part's users;
- whether it is used: if it ranks the other half better than the first stage does, by more than 1.645 standard errors,
  which chance alone does in 1 of 20 nights;
- calibration: f becomes a f + b, two numbers by logistic regression (Platt 1999) on what was shown in the validation
  part, or else on that part's candidates, because a first stage is surer of what it was fitted on, and because
  validation has a length of its own. a > 0, so no order changes. A probability is that of the user choosing the item
  within `rerank.chosen_within_days` of being shown it, or else within a time as long as the validation part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.artefacts.reranked import RankerFit
from pipeline.config.rerank import Rerank as Settings
from pipeline.config.training import Schedule
from pipeline.interactions import Floats, Int64s, Interactions, Mask
from pipeline.rerank.impressions import labelled, learned_from_shown, pairs_of
from pipeline.rerank.network import Network, Ranker, network_of
from pipeline.rerank.pairs import Pairs, learned_from, of_known
from pipeline.rerank.quality import MAX_USERS, Candidates
from pipeline.rerank.snapshot import NOTHING, Catalogue, FirstStage
from pipeline.training.context import Context, Learner, Validation
from pipeline.training.loop import fit
from pipeline.training.torch_runtime import reproducible

SURE = 1.645
SMALLEST_SLOPE = 1e-3
CONSTANT = 1e-4
EPOCH_PAIRS = 1 << 17


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
    first: FirstStage, train: Part, settings: Settings, context: Context, validation: Part | None = None
) -> tuple[Ranker, RankerFit] | None:
    """Learns from the training part; None if it has nothing to learn from.

    context: `metric` chooses the epoch. validation: chooses the pairs, the epoch, a and b, and whether to re-order.
    """
    with reproducible(context.threads), torch.random.fork_rng(devices=[]):
        sources = _pairs(first, train, settings, context.seed)
        if not sources:
            return None
        validation = validation or Part.without_shown(train.chosen.subset(np.zeros(len(train.chosen), bool)))
        candidates, shown = _held_out(first, train, validation, settings, context.seed)
        fits = [
            _searched(_Learner(first.catalogue, pairs, settings, context.named(source)), source, candidates, shown)
            for source, pairs in sources.items()
        ]
        by_source = {fit.learned_from: max(epoch[context.metric] for epoch in fit.curve) for _, fit in fits}
        ranker, fit = max(fits, key=lambda fitted: by_source[fitted[1].learned_from])
        return ranker, replace(fit, by_source=by_source)


def refit_ranker(
    first: FirstStage, train: Part, settings: Settings, context: Context, epochs: int, earlier: Network
) -> tuple[Ranker, RankerFit] | None:
    """The fit that is published: so many epochs, with a and b of an earlier network; None as of `fit_ranker`."""
    with reproducible(context.threads), torch.random.fork_rng(devices=[]):
        sources = _pairs(first, train, settings, context.seed)
        if not sources:
            return None
        ((source, pairs),) = sources.items()
        learner = _Learner(first.catalogue, pairs, settings, context)
        fit(learner, learner.schedule(epochs), None, context)
        learner.network.slope, learner.network.shift = earlier.slope, earlier.shift
        return learner.ranker(), _begun(source, pairs, epochs, context.metric)


def _pairs(first: FirstStage, train: Part, settings: Settings, seed: int) -> dict[str, Pairs]:
    """What there is to learn from of what the settings want, by where it is from: `shown`, `sampled`."""
    sources: dict[str, Pairs | None] = {}
    if settings.learn_from != "sampled" and len(train.shown):
        shown = learned_from_shown(first, train.chosen, train.shown, settings, seed)
        enough = shown is not None and shown.chosen.sum() >= settings.min_shown_choices
        sources["shown"] = shown if enough or settings.learn_from == "shown" else None
    if settings.learn_from != "shown":
        sources["sampled"] = learned_from(first, train.chosen, settings, seed)
    return {source: pairs for source, pairs in sources.items() if pairs is not None}


class _Learner(Learner[Int64s]):
    """The network; a batch is rows of the pairs that it learns from."""

    def __init__(self, catalogue: Catalogue, pairs: Pairs, settings: Settings, context: Context) -> None:
        self.catalogue, self.pairs, self.settings, self.context = catalogue, pairs, settings, context
        torch.manual_seed(context.seed)
        network = self.network = network_of(catalogue, settings)
        share = np.bincount(pairs.user, minlength=len(pairs.users)).astype(np.float32) / len(pairs)
        network.user_mean += torch.from_numpy(share @ pairs.users)
        network.user_norm += np.linalg.norm(pairs.users, axis=1).mean() - 1
        network.mean += torch.from_numpy(pairs.scalars.mean(axis=0))
        spread = pairs.scalars.std(axis=0)
        # What never differed while learning says nothing after it.
        network.scale += torch.from_numpy(np.where(spread > CONSTANT, 1 / np.maximum(spread, CONSTANT), 0))
        # The draw's share of positives is where the bias begins: the loss is not spent on finding it.
        network.last.bias.data += float(np.log(pairs.chosen.mean() / (1 - pairs.chosen.mean() + 1e-9)))
        network.last.bias.data += float(pairs.log_rate.mean())
        rate, decay = settings.learning_rate, settings.weight_decay
        self._weights = dict(self.network.named_parameters())
        self._optimizers = [torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)]
        self.generator = np.random.default_rng([context.seed, 7])
        self._generators = [self.generator]
        widest = max(network.first.in_features, network.first.out_features)
        network.dropout.begin(self.generator, widest * settings.batch_pairs)

    def ranker(self) -> Ranker:
        """The network as it is."""
        return Ranker(self.network, self.catalogue, self.context.threads)

    def schedule(self, epochs: int) -> Schedule:
        """Of so many epochs at most."""
        patience = self.settings.patience_epochs
        return Schedule(max_epochs=epochs, patience_epochs=patience, evaluate_every=1, precision="float32")

    def _batches(self) -> Iterator[Int64s]:
        self.network.train()
        order, rows = self.generator.permutation(len(self.pairs))[:EPOCH_PAIRS], self.settings.batch_pairs
        return (order[start : start + rows] for start in range(0, len(order), rows))

    def _loss(self, batch: Int64s) -> Tensor:
        pairs = self.pairs
        users = self.network.user_side(pairs.users[pairs.user[batch]])
        items = self.network.item_side(self.catalogue.modalities, pairs.item[batch])
        f = self.network(users, items, torch.from_numpy(pairs.scalars[batch]))
        chosen = torch.from_numpy(pairs.chosen[batch].astype(np.float32))
        return binary_cross_entropy_with_logits(f - torch.from_numpy(pairs.log_rate[batch]), chosen)


def _held_out(
    first: FirstStage, train: Part, validation: Part, settings: Settings, seed: int
) -> tuple[Candidates, Pairs]:
    """Of a sample of the validation part's users: their candidates, and what they were shown."""
    # Where nothing was shown there is nothing to label, and both parts are not merged for it.
    choices = train.chosen.concat(validation.chosen) if len(validation.shown) else validation.chosen
    pages, clicked = labelled(validation.shown, choices, settings.chosen_within_days)
    chosen = of_known(validation.chosen, train.chosen).sample_users(MAX_USERS, seed)
    viewers = of_known(pages, train.chosen).sample_users(MAX_USERS, seed).user
    snapshot = first.after(train.chosen, np.concatenate([chosen.user, viewers]))
    own = np.isin(pages.user, viewers)
    shown = pairs_of(snapshot, pages.subset(own), clicked[own], settings, np.random.default_rng([seed, 10]))
    return Candidates.of(snapshot, chosen, settings.candidates), shown


def _begun(source: str, pairs: Pairs, epochs: int, metric: str) -> RankerFit:
    return RankerFit(source, epochs, len(pairs), int(pairs.chosen.sum()), metric=metric)


def _searched(learner: _Learner, source: str, candidates: Candidates, shown: Pairs) -> tuple[Ranker, RankerFit]:
    """Trains until the first half of the candidates' users is ranked no better, and lets the other half decide.

    shown: what was shown in the validation part, which a fit that learned from such pairs is calibrated on.
    """
    chooses, decides, metric = candidates.half(0), candidates.half(1), learner.context.metric

    def measure() -> dict[str, float]:
        values = chooses.values(metric, chooses.logits(learner.ranker()))
        return {metric: float(values.mean()) if len(values) else 0.0}

    schedule = learner.schedule(learner.settings.max_epochs)
    state = fit(learner, schedule, Validation(metric, measure), learner.context)
    ranker = learner.ranker()
    logits = candidates.logits(ranker)
    if source == "shown":
        _calibrate(ranker, ranker.logits(shown.users, shown.user, shown.item, shown.scalars), shown.chosen)
    else:
        there = candidates.lists != NOTHING
        _calibrate(ranker, logits[there], candidates.chosen[there])
    how = replace(_begun(source, learner.pairs, state.epoch, metric), curve=state.curve)
    before, after = decides.values(metric), decides.values(metric, logits[1::2])
    if len(before) < 2:
        return ranker, how
    error = float(np.std(after - before, ddof=1)) / len(before) ** 0.5
    means = float(before.mean()), float(after.mean())
    used = means[1] - means[0] > SURE * error
    return ranker, replace(how, used=used, users=len(before), before=means[0], after=means[1], error=error)


def _calibrate(ranker: Ranker, f: Floats, chosen: Mask) -> None:
    if chosen.any() and not chosen.all():
        line = LogisticRegression(C=1e6).fit(f.astype(np.float64)[:, None], chosen)
        ranker.network.slope.fill_(max(float(line.coef_[0, 0]), SMALLEST_SLOPE))
        ranker.network.shift.fill_(float(line.intercept_[0]))
