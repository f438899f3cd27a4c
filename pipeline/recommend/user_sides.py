"""The user side of a saved model, read row by row: which past choices a user's vector is the sum of.

    u = base + s · sum over the history's items i of c_i r_i,    so    u·v = base·v + sum of s c_i r_i·v

r_i is what the model reads an item of a history as. c_i is how much it counts: 1, or the sum of its weights, halved at
each half life. base is what a user of whom nothing is known gets. s is one number for the whole user:

    svd, elsa, als: 1      bpr, vbpr, lightgcn: 1 / √n, n how many items    content, graph: length / |sum|

To explain a published vector, s is taken from itself: u - base is s times the sum of c_i r_i.

    als:     c_i = α w_i,    r_i = (G + sum over j of (c_j - 1) y_j y_jᵀ)⁻¹ y_i,    G = YᵀY + λI

y are the items' vectors: what a choice is read as depends on the others, but the sum is exact (Hu et al. 2008, 5).

    content: u = s · sum of c_i r_i + s' · the user's profile, where profiles count

    blend:   each member's part of u and of v

Who reads a history by a network, or not at all, is no such sum: of a blend, what such a member says stays whole when a
score is explained. A network is exported instead, see `user_networks`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from pipeline.errors import ConfigError, ShardCorrupt
from pipeline.interactions import Floats, Int64s, Interactions, decay
from pipeline.recommend import kind_of
from pipeline.recommend.base import Recommender
from pipeline.recommend.item_sides import BLEND_FILE, SavedRows
from pipeline.recommend.sides import FoldSide, PastOf, Split, UserSide
from pipeline.recommend.user_networks import BESIDE, NETWORK, ROWS, NetworkUser, UserNetwork

if TYPE_CHECKING:
    from pipeline.fusion.user_pooling import Pooling

FILE = "reads.safetensors"
TOLERANCE = 1e-2
NOT_FOLDED = "{} makes users at night alone, so none can be made of a history that is given in a call"


@dataclass(frozen=True)
class AdditiveUsers:
    """What users are sums of, see above. items: (n_items, d) float32, r, or y of als. base: (d,) float32.

    half_life_days: infinite where weights do not fade, None where an item counts 1 however often it was chosen.
    gram: (d, d) float32, G of als, whose α is `confidence`; else None. profiles: whether a user's profile counts.
    length: what the sum is scaled to, if it is. root: whether it is divided by the root of the number of items.
    profile_weight: the profile's, see `fusion.user_pooling`.
    """

    items: Floats
    base: Floats
    half_life_days: float | None = None
    gram: Floats | None = None
    confidence: float = 1.0
    profiles: bool = False
    length: float | None = None
    root: bool = False
    profile_weight: float = 0.0

    def save(self, folder: Path) -> None:
        """Writes `reads.safetensors`."""
        tensors = {"items": self.items, "base": self.base, "confidence": np.array([self.confidence])}
        tensors |= {"profiles": np.array([self.profiles]), "root": np.array([self.root])}
        tensors["profile_weight"] = np.array([self.profile_weight])
        if self.length is not None:
            tensors["length"] = np.array([self.length])
        if self.half_life_days is not None:
            tensors["half_life_days"] = np.array([self.half_life_days])
        if self.gram is not None:
            tensors["gram"] = self.gram
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / FILE)


def additive_alone(model: Recommender, half_life_days: float | None = None) -> AdditiveUsers:
    """For a model that sums a history without scaling: read from users of one item each."""
    n = len(model.item_vectors)
    codes, nothing = np.arange(n, dtype=np.int32), np.empty(0, np.int32)
    each = Interactions(codes, codes, np.zeros(n), np.ones(n, np.float32), n, n)
    nobody = Interactions(nothing, nothing, np.empty(0), np.empty(0, np.float32), 1, n)
    base = model.user_vectors(nobody)
    return AdditiveUsers(model.user_vectors(each) - base, base[0], half_life_days)


def pooled_users(items: Floats, pooling: Pooling) -> AdditiveUsers | UserNetwork:
    """What makes the users that are pooled from fused vectors, (n_items, d) float32, and from profiles."""
    weight = 0.0 if pooling.profiles is None else pooling.profile_weight
    if pooling.attention is None:
        nothing = np.zeros(items.shape[1], np.float32)
        return AdditiveUsers(
            items, nothing, pooling.half_life_days, profiles=weight > 0, length=1, profile_weight=weight
        )
    from pipeline.fusion.user_attention import AttendedUser

    reads, width = ("items", "present", "newer", "gap_days", "weight"), items.shape[1] if weight else 0
    return UserNetwork(AttendedUser(pooling.attention, weight), reads, items, profile_width=width, described=True)


def save_model(model: Recommender, folder: Path) -> None:
    """Writes a fitted model's weights, and what its users are sums of, or what reads their histories."""
    model.save(folder)
    for users in (model.additive_users(), model.user_network()):
        if users is not None:
            users.save(folder)


class SummedUser(UserSide):
    """See above; of what belongs to single items, only the rows asked for are read."""

    def __init__(self, folder: Path, kind: str) -> None:
        """folder: what `save_model` wrote. Raises ShardCorrupt if it is not that."""
        self._file = SavedRows(folder / FILE, kind)
        self._names = self._file.names()
        ((self.profiles,),) = self._file.read(("profiles",))

    def fold_in(self, past: PastOf) -> Floats:
        """See FoldSide."""
        base, (root,), (weight,) = self._file.read(("base", "root", "profile_weight"))
        counts, rows = self._terms(past)
        total = counts @ rows
        if root:
            total /= max(np.sqrt(np.count_nonzero(counts)), 1)
        if "length" in self._names:
            ((length,),) = self._file.read(("length",))
            total *= length / (np.linalg.norm(total) or 1)
        if past.profile is not None and self.profiles:
            total = (1 - weight) * total + weight * past.profile if total.any() else past.profile.astype(np.float64)
            total /= np.linalg.norm(total)
        return np.asarray(base + total, np.float32)

    def split(self, user: Floats, item: Floats, past: PastOf) -> Split:
        """See UserSide. Raises ShardCorrupt if the user's vector was not made of this past."""
        (base,) = self._file.read(("base",))
        counts, rows = self._terms(past)
        extras = {} if past.profile is None or not self.profiles else {"profile": past.profile}
        sums = np.stack([counts @ rows, *extras.values()])
        target = user.astype(np.float64) - base
        scale, *others = np.linalg.lstsq(sums.T, target)[0]
        if np.linalg.norm(target - [scale, *others] @ sums) > TOLERANCE * np.linalg.norm(user):
            raise ShardCorrupt("the published user does not follow from log and model; run the night with --full")
        choices = scale * counts * (rows @ item)
        rest = {name: float(other * (own @ item)) for (name, own), other in zip(extras.items(), others, strict=True)}
        score = float(user.astype(np.float64) @ item)
        return Split(score - float(choices.sum()) - sum(rest.values()), choices, rest)

    def _terms(self, past: PastOf) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """c and r of the history's items: (n,) and (n, d)."""
        (read,), ((confidence,),) = self._file.read(("items",), past.codes), self._file.read(("confidence",))
        counts, rows = confidence * self._counts(past.history), read.astype(np.float64)
        if "gram" in self._names:
            (gram,) = self._file.read(("gram",))
            rows = np.linalg.solve(gram + (rows.T * (counts - 1)) @ rows, rows.T).T
        return counts, rows

    def _counts(self, history: Interactions) -> npt.NDArray[np.float64]:
        """c of the history's items, (n_items,), without als's α."""
        if "half_life_days" not in self._names:
            return (history.item_counts() > 0).astype(np.float64)
        ((half_life_days,),) = self._file.read(("half_life_days",))
        weights = decay(history, float(half_life_days))
        return np.bincount(history.item, weights, minlength=history.n_items).astype(np.float64)


class SameForAll(UserSide):
    """Users of whom nothing counts: a vector of one 1, and all of a score is what suits everyone."""

    def fold_in(self, past: PastOf) -> Floats:
        """See FoldSide."""
        return np.ones(1, np.float32)

    def split(self, user: Floats, item: Floats, past: PastOf) -> Split:
        """See UserSide."""
        return Split(float(user.astype(np.float64) @ item), np.zeros(len(past.codes)), {})


def saved_fold(folder: Path, kind: str) -> FoldSide | None:
    """What a folder has of `save_model` to make users of histories; None where it has nothing.

    Raises ShardCorrupt if it is not that.
    """
    if (folder / FILE).exists():
        return SummedUser(folder, kind)
    if (folder / NETWORK).exists():
        return NetworkUser(folder, kind, saved_fold(folder / BESIDE, kind))
    return None


class BlendedUser(UserSide):
    """See above."""

    def __init__(self, folder: Path) -> None:
        """folder: what `BlendModel.save` wrote. Raises ShardCorrupt if it is not that."""
        self._file = SavedRows(folder / BLEND_FILE, "blend")
        self.sides = {name: kind_of(name).user_side(folder / name) for name in self._file.metadata()["members"].split()}
        self._folds = {name: kind_of(name).fold_side(folder / name) for name in self.sides}
        self.whole = tuple(name for name, side in self._folds.items() if side is None)
        self.profiles = any(side is not None and side.profiles for side in self._folds.values())

    def prepare(self) -> None:
        """See FoldSide."""
        for side in self._folds.values():
            if side is not None:
                side.prepare()

    def fold_in(self, past: PastOf) -> Floats:
        """See FoldSide."""
        parts = []
        for name, side in self._folds.items():
            if side is None:
                raise ConfigError(f"history: {NOT_FOLDED.format(name)}")
            (factor,) = self._file.read((f"{name}.factor",))
            parts.append(factor * side.fold_in(past))
        return np.concatenate(parts)

    def split(self, user: Floats, item: Floats, past: PastOf) -> Split:
        """See UserSide."""
        base, choices, rest, start = 0.0, np.zeros(len(past.codes)), {}, 0
        for name, side in self.sides.items():
            (factor,), neutral = self._file.read((f"{name}.factor", f"{name}.neutral"))
            part = slice(start, start := start + len(neutral))
            if side is None:
                rest[name] = float(user[part].astype(np.float64) @ item[part])
                continue
            split = side.split(user[part] / factor, item[part] * factor, past)
            base, choices, rest = base + split.base, choices + split.choices, rest | split.rest
        return Split(base, choices, rest)


def export_users(model: str, saved: Path, rows: Int64s, folder: Path, profiles: Path | None = None) -> tuple[str, ...]:
    """Writes what makes users of histories without the model, which `kind_of(model).fold_side(folder)` reads.

    saved: what `save_model` wrote. rows: (n,) the items' codes, whose places here are their codes there. profiles:
    users' own, a file that is copied where the model reads it. Returns the models that cannot make users so, the model
    itself or members of a blend; then nothing is written.
    """
    side = kind_of(model).fold_side(saved)
    if side is None or side.whole:
        return (model,) if side is None else side.whole
    folder.mkdir()
    if side.profiles and profiles is not None and profiles.exists():
        shutil.copyfile(profiles, folder / profiles.name)
    if isinstance(side, BlendedUser):
        kept = {name: tensor for name, tensor in _tensors(saved / BLEND_FILE).items() if not name.endswith(".items")}
        save_file(kept, folder / BLEND_FILE, metadata={"members": " ".join(side.sides)})
    for name in side.sides if isinstance(side, BlendedUser) else ("",):
        _export(saved / name, rows, folder / name)
    return ()


def _export(saved: Path, rows: Int64s, folder: Path) -> None:
    """Copies what makes users of histories, its items cut to some rows."""
    folder.mkdir(exist_ok=True)
    for name in (FILE, ROWS):
        if (saved / name).exists():
            tensors = _tensors(saved / name)
            save_file(tensors | {"items": np.ascontiguousarray(tensors["items"][rows])}, folder / name)
    if (saved / NETWORK).exists():
        shutil.copyfile(saved / NETWORK, folder / NETWORK)
    if (saved / BESIDE).exists():
        _export(saved / BESIDE, rows, folder / BESIDE)


def _tensors(path: Path) -> dict[str, Floats]:
    file = SavedRows(path, "fitted")
    names = tuple(sorted(file.names()))
    return dict(zip(names, file.read(names), strict=True))
