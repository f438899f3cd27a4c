"""Training of a learned fusion, on two signals that nobody had to label.

- co-choice: of a pair of items that one user chose within a window, each finds the other among the batch;
- agreement: of an item with several modalities, one of them alone finds another of them alone, by the first part of the
  vector; the rest is free for what only one of them has (private and shared parts, Bousmalis et al. 2016).

Both are InfoNCE (van den Oord et al. 2018), both ways round. A batch holds popular items more often,
so log of an item's share of the choices is taken off its score as a negative (logQ, Yi et al. 2019). Modalities are
hidden at random, so that any subset will do.

A share of the items is held out. After each epoch they are retrieved: by an item chosen with them, and by another of
their modalities; the score is the mean NDCG of a single right answer, 1 / log2(1 + rank), weighed like the losses. The
best epoch's averaged weights are kept, those before the first epoch among them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.fuse import Learn
from pipeline.config.training import Schedule
from pipeline.evaluation.hits import discount
from pipeline.fusion.fit import Catalogue
from pipeline.fusion.learned import LearnedFusion, Step
from pipeline.fusion.projected import Mask
from pipeline.interactions import Int64s, Interactions
from pipeline.training.context import Epoch, Learner, Validation
from pipeline.training.loop import fit
from pipeline.training.softmax import info_nce

log = logging.getLogger("medley")
HELD_OUT_PAIRS, HELD_OUT_ITEMS, CANDIDATES = 4096, 1024, 4096
# Rounds of drawing pairs until there are enough.
TRIES = 50


class CoChoices:
    """Pairs of distinct items at most `window` choices apart in one user's history, each item among `usable`."""

    def __init__(self, log: Interactions, window: int, usable: Mask) -> None:
        """usable: (n_items,) bool."""
        visible = log.subset(usable[log.item])
        several = np.bincount(visible.user, minlength=1)[visible.user] > 1
        self.user, self.item = visible.user[several], visible.item[several].astype(np.int64)
        choices = np.bincount(self.user, minlength=1)
        self.window = min(window, max(int(choices.max()) - 1, 1))
        place = np.arange(len(self.user)) - np.concatenate([[0], np.cumsum(choices)])[self.user]
        after = np.minimum(choices[self.user] - 1 - place, self.window)
        self.count = int(after.sum())
        """How many pairs there are, those of one item twice included."""
        partners = after + np.minimum(place, self.window)
        drawn = np.bincount(self.item, partners, minlength=len(usable))
        self.share = (drawn / max(drawn.sum(), 1)).astype(np.float32)
        """(n_items,) float32: the share of an item in all pairs, which is how often it is drawn."""

    def draw(self, count: int, rng: np.random.Generator) -> Int64s:
        """At most `count` pairs of item codes, (n, 2) int64, in random order and direction; none if there is none."""
        batches: list[Int64s] = []
        missing = count
        for _ in range(TRIES if self.count else 0):
            first = rng.integers(len(self.item), size=2 * missing + 64)
            second = first + rng.integers(1, self.window + 1, size=len(first))
            inside = second < len(self.item)
            first, second = first[inside], second[inside]
            real = (self.user[first] == self.user[second]) & (self.item[first] != self.item[second])
            batches.append(np.stack([self.item[first[real]], self.item[second[real]]], axis=1)[:missing])
            missing -= len(batches[-1])
            if missing <= 0:
                break
        pairs = np.concatenate(batches) if batches else np.zeros((0, 2), np.int64)
        turned = rng.random(len(pairs)) < 0.5
        pairs[turned] = pairs[turned, ::-1]
        return pairs


@dataclass(frozen=True)
class _Split:
    """Items to train on and items to stop by, the pairs of both, and those with several modalities."""

    pairs: CoChoices
    several: Int64s
    held_out_pairs: Int64s
    held_out_several: Int64s
    candidates: Int64s


def train(fusion: LearnedFusion, catalogue: Catalogue) -> list[Epoch]:
    """Trains the fusion's network in place.

    Returns one entry an epoch, beginning before the first, which has no loss: `epoch`, `loss`, and the held-out
    `co_choice`, `agreement` and `score` (NDCG, in [0, 1]). Nothing is learned where there is neither a pair nor an item
    of two modalities.
    """
    context = catalogue.material.context
    torch.manual_seed(context.seed)
    learner, learn = _Learner(fusion, catalogue), fusion.settings.learn
    schedule = Schedule(
        max_epochs=learn.max_epochs,
        patience_epochs=learn.patience_epochs,
        evaluate_every=1,
        clip=1.0,
        averaging=learn.averaging,
        precision="float32",
    )
    state = fit(learner, schedule, Validation("score", learner.held_out, from_start=True), context)
    fusion.network.eval()
    log.info("fuse %s: epoch %d kept, held-out score %.4f, before %.4f", fusion.settings.kind, state.epoch,
             state.score, state.curve[0]["score"])  # fmt: skip
    return state.curve


class _Learner(Learner[Int64s]):
    """A fusion's network; a batch is pairs of items chosen together, and as many items of several modalities."""

    def __init__(self, fusion: LearnedFusion, catalogue: Catalogue) -> None:
        self.fusion, self.projected, self.settings = fusion, catalogue.stored(), fusion.settings.learn
        self.rng = np.random.default_rng([catalogue.material.context.seed, 1])
        self.split = _split(catalogue, self.settings)
        self.agrees = self.settings.agreement > 0 and len(self.split.several) > 1
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        self._weights = dict(self.fusion.network.named_parameters())
        self._optimizers = [torch.optim.AdamW(fusion.network.parameters(), lr=rate, weight_decay=decay)]
        self._generators = [self.rng, torch.default_generator]  # Dropout draws from torch's own.
        self.log_share = torch.log(torch.from_numpy(self.split.pairs.share).clamp_min(1e-12))

    def _batches(self) -> Iterator[Int64s]:
        settings, pairs = self.settings, self.split.pairs
        self.fusion.network.train()
        wanted = min(settings.pairs, pairs.count) if settings.co_choice else 0
        drawn = pairs.draw(wanted, self.rng)
        steps = max(len(drawn) // settings.batch_pairs, int(len(drawn) > 1))
        if self.agrees:
            steps = max(steps, min(len(self.split.several), settings.pairs) // settings.batch_pairs, 1)
        batches = np.array_split(drawn, max(steps, 1))[:steps]
        return (batch for batch in batches if self.agrees or len(batch) > 1)

    def _loss(self, batch: Int64s) -> Tensor:
        terms = []
        if len(batch) > 1:
            terms.append(self.settings.co_choice * self._co_choice(batch))
        if self.agrees:
            terms.append(self.settings.agreement * self._agreement())
        return torch.stack(terms).sum()

    def _co_choice(self, pairs: Int64s) -> Tensor:
        codes, partners = pairs.T.ravel(), pairs[:, ::-1].T.ravel()
        mask = self.projected.mask[codes]
        keep = hidden(mask, self.settings.modality_dropout, self.rng)
        vectors, _ = self.fusion.batch(self.projected, codes, keep, Step(self.rng, partners))
        left, right = vectors.chunk(2)
        scores = left @ right.T / self.settings.temperature
        mine, theirs = torch.from_numpy(pairs[:, 0].copy()), torch.from_numpy(pairs[:, 1].copy())
        return (
            info_nce(scores - self.log_share[theirs], mine, theirs)
            + info_nce(scores.T - self.log_share[mine], theirs, mine)
        ) / 2

    def _agreement(self) -> Tensor:
        several = self.split.several
        codes = self.rng.permutation(several)[: self.settings.batch_pairs]
        first, second = two_alone(self.projected.mask[codes], self.rng)
        step = Step(self.rng)
        left, _ = self.fusion.batch(self.projected, codes, first, step)
        right, _ = self.fusion.batch(self.projected, codes, second, step)
        shared = max(1, round(left.shape[1] * self.settings.agreement_width))
        left, right = (functional.normalize(vectors[:, :shared], dim=1) for vectors in (left, right))
        scores = left @ right.T / self.settings.agreement_temperature
        items = torch.from_numpy(codes)
        return (info_nce(scores, items, items) + info_nce(scores.T, items, items)) / 2

    def held_out(self) -> Epoch:
        """NDCG of held-out items, asked for by a co-choice and by one modality for another, and their weighted mean."""
        self.fusion.network.eval()
        settings = self.settings
        co_choice, agreement = self._held_out_pairs(), self._held_out_modalities()
        total = settings.co_choice + settings.agreement
        score = (settings.co_choice * co_choice + settings.agreement * agreement) / (total or 1)
        return {"co_choice": co_choice, "agreement": agreement, "score": score}

    def _held_out_pairs(self) -> float:
        codes, answers = self.split.held_out_pairs.T
        if not len(codes):
            return 0.0
        among = np.union1d(answers, self.split.candidates)
        queries, _ = self.fusion.vectors(self.projected, codes)
        vectors, _ = self.fusion.vectors(self.projected, among)
        scores = np.nan_to_num(queries) @ np.nan_to_num(vectors).T
        scores[codes[:, None] == among] = -np.inf
        return _ndcg(scores, np.searchsorted(among, answers))

    def _held_out_modalities(self) -> float:
        codes, projected = self.split.held_out_several, self.projected
        among = np.union1d(codes, self.split.candidates)
        places = range(projected.mask.shape[1])
        alone = [
            self.fusion.vectors(projected, among, np.isin(places, place)[None].repeat(len(among), 0))[0]
            for place in places
        ]
        rows = np.searchsorted(among, codes)
        scores = []
        for query in places:
            for target in places:
                both = projected.mask[codes, query] & projected.mask[codes, target]
                if query != target and both.any():
                    having = np.flatnonzero(projected.mask[among, target])
                    answers = np.searchsorted(having, rows[both])
                    scores.append(_ndcg(alone[query][rows[both]] @ alone[target][having].T, answers))
        return float(np.mean(scores)) if scores else 0.0


def hidden(mask: Mask, share: float, rng: np.random.Generator) -> Mask:
    """The mask with a share of its modalities hidden; an item that would lose all keeps them."""
    visible = mask & (rng.random(mask.shape) >= share)
    return np.where(visible.any(axis=1, keepdims=True), visible, mask)


def two_alone(mask: Mask, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Two modalities of each item, drawn at random, each alone: (n, m) bool twice; no row has fewer."""
    drawn = np.argsort(-(rng.random(mask.shape) * mask), axis=1)
    places = np.arange(mask.shape[1])
    return places == drawn[:, :1], places == drawn[:, 1:2]


def held_out(items: int, share: float, seed: int) -> Mask:
    """The items that training leaves out to stop by: (n,) bool."""
    return np.random.default_rng([seed, 2]).random(items) < share


def _split(catalogue: Catalogue, settings: Learn) -> _Split:
    material, mask, window = catalogue.material, catalogue.stored().mask, settings.window_choices
    rng = np.random.default_rng([material.context.seed, 3])
    usable = material.visible & mask.any(axis=1)
    held = held_out(len(mask), settings.held_out_share, material.context.seed)
    several = usable & (mask.sum(axis=1) > 1)
    pairs = CoChoices(material.train, window, usable).draw(20 * HELD_OUT_PAIRS, rng)
    pairs = pairs[~held[pairs[:, 0]] & held[pairs[:, 1]]][:HELD_OUT_PAIRS]
    return _Split(
        CoChoices(material.train, window, usable & ~held),
        np.flatnonzero(several & ~held),
        pairs,
        rng.permutation(np.flatnonzero(several & held))[:HELD_OUT_ITEMS],
        rng.permutation(np.flatnonzero(usable))[:CANDIDATES],
    )


def _ndcg(scores: np.ndarray, answers: np.ndarray) -> float:
    """Mean NDCG of one right answer a row; of equal scores half come before it."""
    right = scores[np.arange(len(scores)), answers][:, None]
    rank = 1 + (scores > right).sum(axis=1) + ((scores == right).sum(axis=1) - 1) / 2
    return float(np.mean(discount(rank)))
