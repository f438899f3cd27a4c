"""ranker: how likely a user is to choose an item, from everything that is known of both; it re-orders candidates.

    p = σ(f),   f = FC([tower_user(u) | tower_m(f_m) of each modality m | tower_counts(c)]) + w · c

a tower is a fully connected layer and ReLU, and FC two of those and a linear one. u is the first stage's user vector,
f_m the item's own vectors, and c the numbers of `Snapshot.scalars`, standardised and cut at ±4; w · c is the wide part
of Wide & Deep (Cheng et al. 2016). A missing modality has a learned vector in its tower's place. What is served is the
calibrated a f + b; how everything is learned, `pipeline.rerank.fit` says.

The inputs fall into groups, by which a score is explained (`Ranker.score_groups`):

| group | inputs | where it is left out |
|---|---|---|
| first_stage | the first stage's score of the pair, and its vector of the user | both at training's means |
| popularity_and_age | how often the item was chosen, when first and last, and whether ever | likewise |
| activity | how much the user has chosen, and when last | likewise |
| a modality's name | the item's own vector, and its cosine with the user's history | as of an item that lacks it |
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.special import expit
from torch import Tensor, nn

from pipeline.artefacts.read import readable
from pipeline.config.rerank import Rerank as Settings
from pipeline.interactions import Floats, Int64s, Mask
from pipeline.rerank.snapshot import NOTHING, Catalogue, Snapshot
from pipeline.training.torch_runtime import reproducible

RANKER_FILE = "ranker.safetensors"
BLOCK_ITEMS = 4096
BLOCK_USERS = 256
BLOCK_PAIRS = 4096
FARTHEST = 4.0
# Stretches that dropout draws from.
MASKS = 1 << 20
FIRST_STAGE, POPULARITY, ACTIVITY = "first_stage", "popularity_and_age", "activity"
# Columns of `Snapshot.scalars`; those behind them are the modalities' cosines.
COLUMNS = {FIRST_STAGE: slice(0, 1), POPULARITY: slice(1, 5), ACTIVITY: slice(5, 7)}


class Network(nn.Module):
    """See above; what inputs are scaled by, and a and b, `slope` and `shift`, are kept among the weights."""

    user_norm: Tensor
    user_mean: Tensor
    mean: Tensor
    scale: Tensor
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
        self.dropout = Dropout(settings.dropout)
        self.first = nn.Linear(width * (2 + len(widths)), hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 1)
        self.wide = nn.Linear(scalars, 1, bias=False)
        for name, value in {"user_norm": torch.ones(()), "user_mean": torch.zeros(user_width),
                            "mean": torch.zeros(scalars), "scale": torch.zeros(scalars),
                            "slope": torch.ones(()), "shift": torch.zeros(())}.items():  # fmt: skip
            self.register_buffer(name, value)

    def item_side(self, modalities: dict[str, tuple[Floats, Mask]], codes: Int64s) -> Tensor:
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
        counts = ((scalars - self.mean) * self.scale).clamp(-FARTHEST, FARTHEST)
        joined = self.dropout(torch.cat([users, items, torch.relu(self.counts(counts))], dim=1))
        hidden = self.dropout(torch.relu(self.first(joined)))
        deep: Tensor = self.last(torch.relu(self.second(hidden)))
        return (deep + self.wide(counts))[:, 0]


class Dropout(nn.Module):
    """As torch's, whose draws take half of a step: a mask is a stretch, drawn anew, of one long row that is drawn once.

    generator: what draws the stretches; nothing is left out before it is given, nor when a fitted network is asked.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator: np.random.Generator | None = None
        self._row = torch.zeros(0)

    def begin(self, generator: np.random.Generator, longest: int) -> None:
        """Draws the row. longest: how many numbers a tensor has at most."""
        keep = generator.random(longest + MASKS, np.float32) >= self.share
        self.generator, self._row = generator, torch.from_numpy(keep / np.float32(1 - self.share))

    def forward(self, values: Tensor) -> Tensor:
        """values, less what is left out, scaled so that their mean is as it was."""
        if not self.training or self.generator is None or not self.share:
            return values
        start = int(self.generator.integers(MASKS))
        return values * self._row[start : start + values.numel()].view_as(values)


class Ranker:
    """A fitted network, and the item side of one catalogue."""

    def __init__(self, network: Network, catalogue: Catalogue, threads: int) -> None:
        self.network = network.eval()
        self.threads = threads
        self.catalogue = catalogue

    @cached_property
    @torch.no_grad()
    def _sides(self) -> Tensor:
        """The item side of the whole catalogue, made once somebody asks."""
        items, catalogue = len(self.catalogue.vectors), self.catalogue
        blocks = (np.arange(at, min(at + BLOCK_ITEMS, items)) for at in range(0, items, BLOCK_ITEMS))
        with reproducible(self.threads):
            return torch.cat([self.network.item_side(catalogue.modalities, block) for block in blocks])

    @torch.no_grad()
    def logits(self, users: Floats, user: Int64s, item: Int64s, scalars: Floats) -> Floats:
        """a f + b of n pairs, (n,) float32. users: (m, d). user: (n,) rows of it. item: (n,) codes."""
        logits = np.empty(len(item), np.float32)
        with reproducible(self.threads):
            side = self.network.user_side(users)
            for at in range(0, len(item), BLOCK_PAIRS):
                rows = slice(at, at + BLOCK_PAIRS)
                own, items = side[torch.from_numpy(user[rows])], self._sides[torch.from_numpy(item[rows])]
                logits[rows] = self._calibrated(own, items, scalars[rows])
        return logits

    def _calibrated(self, users: Tensor, items: Tensor, scalars: Floats) -> Floats:
        f = self.network(users, items, torch.from_numpy(scalars))
        return np.asarray((self.network.slope * f + self.network.shift).numpy(), np.float32)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups of inputs, see above: the three that every ranker has, then its modalities."""
        return (*COLUMNS, *self.network.modalities)

    @torch.no_grad()
    def score_groups(self, snapshot: Snapshot, user: Int64s, item: Int64s, present: Collection[str]) -> Floats:
        """The logits of n pairs by some groups of inputs alone, the others left out as said above: (n,) float32.

        user: (n,) codes in the snapshot. item: (n,) codes. present: names of `groups`; with all of them these are the
        logits that lists are ordered by, and scipy's expit of them the probabilities in `recommendations.parquet`.
        A modality that an item lacks changes nothing.
        """
        own, row = np.unique(user, return_inverse=True)
        network, users, scalars = self.network, snapshot.users[user], snapshot.scalars(own, row, item)
        with reproducible(self.threads):
            items = self._sides[torch.from_numpy(item)].clone()
            for place, name in enumerate(network.modalities):
                if name not in present:
                    width = len(network.missing[name])
                    items[:, place * width : (place + 1) * width] = network.missing[name]
                    scalars[:, place - len(network.modalities)] = 0
            for name in set(COLUMNS) - set(present):
                scalars[:, COLUMNS[name]] = network.mean[COLUMNS[name]].numpy()
            if FIRST_STAGE not in present:
                users = np.broadcast_to(network.user_mean.numpy(), users.shape).copy()
            return self._calibrated(network.user_side(users), items, scalars)

    def of_lists(self, snapshot: Snapshot, users: Int64s, lists: Int64s, scores: Floats | None = None) -> Floats:
        """The logits of each user's candidates, (b, k) float32, -inf where there is none.

        scores: the first stage's, (b, k), where they are known.
        """
        logits = np.full(lists.shape, -np.inf, np.float32)
        for at in range(0, len(users), BLOCK_USERS):
            own, block = users[at : at + BLOCK_USERS], lists[at : at + BLOCK_USERS]
            row, column = np.nonzero(block != NOTHING)
            products = None if scores is None else scores[at + row, column]
            numbers = snapshot.scalars(own, row, block[row, column], products)
            logits[at + row, column] = self.logits(snapshot.users[own], row, block[row, column], numbers)
        return logits

    def reordered(
        self, snapshot: Snapshot, users: Int64s, lists: Int64s, scores: Floats | None = None
    ) -> tuple[Int64s, Floats]:
        """Candidates likeliest first, equals as they were, and their probabilities, 0 where there is no item.

        scores: the first stage's, (b, k), where they are known.
        """
        logits = self.of_lists(snapshot, users, lists, scores)
        order = np.argsort(-logits, axis=1, kind="stable")
        return np.take_along_axis(lists, order, axis=1), expit(np.take_along_axis(logits, order, axis=1))

    def save(self, folder: Path) -> None:
        """Writes `ranker.safetensors` into a folder, which is made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, folder / RANKER_FILE)


def load_ranker(folder: Path, catalogue: Catalogue, threads: int) -> Ranker:
    """What `Ranker.save` wrote. Raises ShardCorrupt if it is not that."""
    with readable(folder / RANKER_FILE, "not the weights of this night's ranker", "run the night with --full"):
        weights = load_file(folder / RANKER_FILE)
        shape = {"width": len(weights["user.bias"]), "hidden": len(weights["second.bias"])}
        network = network_of(catalogue, Settings(**shape))
        network.load_state_dict(weights)
    return Ranker(network, catalogue, threads)


def network_of(catalogue: Catalogue, settings: Settings) -> Network:
    """A new network for what a catalogue has; its weights are drawn from torch's generator."""
    widths = {name: vectors.shape[1] for name, (vectors, _) in catalogue.modalities.items()}
    return Network(catalogue.vectors.shape[1], widths, catalogue.scalars, settings)
