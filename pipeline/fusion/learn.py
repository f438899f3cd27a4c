"""Training of a learned fusion, on two signals that nobody had to label.

- co-choice: of a pair of items that one user chose within a window, each finds the other among the batch;
- agreement: of an item with several modalities, one of them alone finds another of them alone, by the first part of the
  vector; the rest is left for what only one of them tells (private and shared parts, Bousmalis et al. 2016).

Both are InfoNCE (van den Oord et al. 2018), both ways round. A batch holds popular items more often,
so log of an item's share of the choices is taken off its score as a negative (logQ, Yi et al. 2019). Modalities are
hidden at random, so that any subset will do.

A share of the items is kept from training. After each epoch they are asked for: by an item that was chosen with one of
them, and by one modality for another; the score is the mean NDCG of a single right answer, 1 / log2(1 + rank), weighed
like the losses. The best epoch's averaged weights are kept, those before the first epoch among them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.fusion.learned import LearnedFusion, Step
from pipeline.fusion.networks import Network
from pipeline.fusion.pairs import CoChoices, Pairs
from pipeline.fusion.projected import Codes, InFile, Mask
from pipeline.interactions import Interactions
from pipeline.training.contrastive import info_nce

log = logging.getLogger("medley")
JUDGED_PAIRS, JUDGED_ITEMS, CANDIDATES = 4096, 1024, 4096
OnEpoch = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Lesson:
    """What a fusion learns from: the catalogue's sides, the training part, and which items may be seen, (n,) bool."""

    sides: InFile
    train: Interactions
    visible: Mask
    seed: int


@dataclass(frozen=True)
class _Split:
    """Items to train on and items to stop by, the pairs of both, and those with several modalities."""

    pairs: CoChoices
    several: Codes
    judged: Pairs
    judged_several: Codes
    candidates: Codes


def train(fusion: LearnedFusion, lesson: Lesson, on_epoch: OnEpoch | None = None) -> list[dict[str, float]]:
    """Trains the fusion's network in place.

    Returns one entry an epoch, beginning before the first, which has no loss: `epoch`, `loss`, and the held-out
    `co_choice`, `agreement` and `score` (NDCG, in [0, 1]). Nothing is learned where there is neither a pair nor an item
    of two modalities.
    """
    torch.manual_seed(lesson.seed)
    trainer = _Trainer(fusion, lesson)
    return trainer.run(on_epoch)


class _Trainer:
    def __init__(self, fusion: LearnedFusion, lesson: Lesson) -> None:
        self.fusion, self.lesson, self.settings = fusion, lesson, fusion.settings.learn
        self.agreement = self.settings.agreement
        self.rng = np.random.default_rng([lesson.seed, 1])
        self.split = _split(lesson, self.settings.held_out_share, self.settings.window_choices)
        self.average = AveragedModel(fusion.network, multi_avg_fn=get_ema_multi_avg_fn(self.settings.averaging))
        self.optimiser = torch.optim.AdamW(
            fusion.network.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.log_share = torch.log(torch.from_numpy(self.split.pairs.share).clamp_min(1e-12))

    def run(self, on_epoch: OnEpoch | None) -> list[dict[str, float]]:
        """Epochs until none is better for `patience_epochs`; the best averaged weights are left in the network."""
        network, average = self.fusion.network, self.average.module
        curve, best, kept = [{"epoch": 0, **self._judged()}], 0, _state(average)
        for number in range(1, self.settings.max_epochs + 1):
            losses = self._epoch()
            if not losses:
                break
            curve.append({"epoch": number, "loss": float(np.mean(losses)), **self._judged()})
            if on_epoch:
                on_epoch(curve[-1])
            if curve[-1]["score"] > curve[best]["score"]:
                best, kept = number, _state(average)
            elif number - best >= self.settings.patience_epochs:
                break
        network.load_state_dict(kept)
        network.eval()
        log.info("fuse %s: epoch %d kept, held-out score %.4f, before %.4f", self.fusion.settings.kind, best,
                 curve[best]["score"], curve[0]["score"])  # fmt: skip
        return curve

    def _epoch(self) -> list[float]:
        settings, pairs = self.settings, self.split.pairs
        self.fusion.network.train()
        wanted = min(settings.pairs, pairs.count) if settings.co_choice else 0
        drawn = pairs.draw(wanted, self.rng)
        steps = max(len(drawn) // settings.batch_pairs, int(len(drawn) > 1))
        if self.agreement and len(self.split.several) > 1:
            steps = max(steps, min(len(self.split.several), settings.pairs) // settings.batch_pairs, 1)
        batches = np.array_split(drawn, max(steps, 1))
        return [loss for batch in batches[:steps] if (loss := self._step(batch)) is not None]

    def _step(self, pairs: Pairs) -> float | None:
        terms = []
        if len(pairs) > 1:
            terms.append(self.settings.co_choice * self._co_choice(pairs))
        if self.agreement and len(self.split.several) > 1:
            terms.append(self.agreement * self._agreement())
        if not terms:
            return None
        loss = torch.stack(terms).sum()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.fusion.network.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.fusion.network)
        return float(loss.detach())

    def _co_choice(self, pairs: Pairs) -> Tensor:
        codes, partners = pairs.T.ravel(), pairs[:, ::-1].T.ravel()
        mask = self.lesson.sides.mask[codes]
        keep = hidden(mask, self.settings.modality_dropout, self.rng)
        vectors, _ = self.fusion.batch(self.lesson.sides, codes, keep, Step(self.rng, partners))
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
        one, other = two_alone(self.lesson.sides.mask[codes], self.rng)
        step = Step(self.rng)
        left, _ = self.fusion.batch(self.lesson.sides, codes, one, step)
        right, _ = self.fusion.batch(self.lesson.sides, codes, other, step)
        shared = max(1, round(left.shape[1] * self.settings.agreement_width))
        left, right = (functional.normalize(side[:, :shared], dim=1) for side in (left, right))
        scores = left @ right.T / self.settings.agreement_temperature
        items = torch.from_numpy(codes)
        return (info_nce(scores, items, items) + info_nce(scores.T, items, items)) / 2

    def _judged(self) -> dict[str, float]:
        live, self.fusion.network = self.fusion.network, cast(Network, self.average.module)
        self.fusion.network.eval()
        settings = self.settings
        co_choice, agreement = self._judge_pairs(), self._judge_modalities()
        self.fusion.network = live
        total = settings.co_choice + self.agreement
        score = (settings.co_choice * co_choice + self.agreement * agreement) / (total or 1)
        return {"co_choice": co_choice, "agreement": agreement, "score": score}

    def _judge_pairs(self) -> float:
        asked, answers = self.split.judged.T
        if not len(asked):
            return 0.0
        among = np.union1d(answers, self.split.candidates)
        queries, _ = self.fusion.vectors(self.lesson.sides, asked)
        found, _ = self.fusion.vectors(self.lesson.sides, among)
        scores = np.nan_to_num(queries) @ np.nan_to_num(found).T
        scores[asked[:, None] == among] = -np.inf
        return _ndcg(scores, np.searchsorted(among, answers))

    def _judge_modalities(self) -> float:
        codes, sides = self.split.judged_several, self.lesson.sides
        among = np.union1d(codes, self.split.candidates)
        places = range(sides.mask.shape[1])
        alone = [
            self.fusion.vectors(sides, among, np.isin(places, place)[None].repeat(len(among), 0))[0] for place in places
        ]
        rows = np.searchsorted(among, codes)
        scores = []
        for asked in places:
            for told in places:
                both = sides.mask[codes, asked] & sides.mask[codes, told]
                if asked != told and both.any():
                    found = np.flatnonzero(sides.mask[among, told])
                    answers = np.searchsorted(found, rows[both])
                    scores.append(_ndcg(alone[asked][rows[both]] @ alone[told][found].T, answers))
        return float(np.mean(scores)) if scores else 0.0


def hidden(mask: Mask, share: float, rng: np.random.Generator) -> Mask:
    """The mask with a share of its modalities hidden; an item that would lose all keeps them."""
    kept = mask & (rng.random(mask.shape) >= share)
    return np.where(kept.any(axis=1, keepdims=True), kept, mask)


def two_alone(mask: Mask, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Two modalities of each item, drawn at random, each alone: (n, m) bool twice; no row has fewer."""
    drawn = np.argsort(-(rng.random(mask.shape) * mask), axis=1)
    places = np.arange(mask.shape[1])
    return places == drawn[:, :1], places == drawn[:, 1:2]


def held_out(items: int, share: float, seed: int) -> Mask:
    """The items that training leaves out to stop by: (n,) bool."""
    held: Mask = np.random.default_rng([seed, 2]).random(items) < share
    return held


def _split(lesson: Lesson, share: float, window: int) -> _Split:
    mask = lesson.sides.mask
    rng = np.random.default_rng([lesson.seed, 3])
    usable = lesson.visible & mask.any(axis=1)
    held = held_out(len(mask), share, lesson.seed)
    several = usable & (mask.sum(axis=1) > 1)
    judged = CoChoices(lesson.train, window, usable).draw(20 * JUDGED_PAIRS, rng)
    judged = judged[~held[judged[:, 0]] & held[judged[:, 1]]][:JUDGED_PAIRS]
    return _Split(
        CoChoices(lesson.train, window, usable & ~held),
        np.flatnonzero(several & ~held),
        judged,
        rng.permutation(np.flatnonzero(several & held))[:JUDGED_ITEMS],
        rng.permutation(np.flatnonzero(usable))[:CANDIDATES],
    )


def _ndcg(scores: np.ndarray, answers: np.ndarray) -> float:
    """Mean of 1 / log2(1 + rank) of one right answer a row; of equal scores half come before it."""
    right = scores[np.arange(len(scores)), answers][:, None]
    rank = 1 + (scores > right).sum(axis=1) + ((scores == right).sum(axis=1) - 1) / 2
    return float(np.mean(1 / np.log2(1 + rank)))


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
