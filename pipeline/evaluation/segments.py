"""The segments of the test, on each of which models are ranked; each is a `Task`.

| segment | targets | ranked among |
|---|---|---|
| all | every test interaction | all items |
| warm | those with items that training saw | all items |
| new_users | those of users who have a profile and chose nothing before | all items |
| cold_users | those of users with at most `cold_user_choices` choices in training | all items |
| head | those with the most chosen items, which together have `head_choice_share` of training's choices | all items |
| tail | those with all other items that training saw | all items |
| no_text, no_image, no_audio | those with items that lack the modality | all items |
| all_modalities | those with items that lack none | all items |
| cold | every interaction with a held-out item | the held-out items |
| cold_among_all | every interaction with a held-out item | all items |

Items that a user chose before are not ranked, and only new_users asks users without a history. A segment without a
target is left out, and so are those by modality where every item lacks something, or none does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.artefacts.log import OpenedLog
from pipeline.config.sections import Evaluate
from pipeline.evaluation.metrics import Task
from pipeline.interactions import Interactions, Mask


def tasks_of(
    log: OpenedLog, settings: Evaluate, present: Mapping[str, Mask], profiles: Mask | None = None, seed: int = 0
) -> dict[str, Task]:
    """The segments that have a target; `all`, `warm`, `cold` and `cold_among_all` are there in any case.

    present: modality to (n_items,) bool, whether an item has it. profiles: (n_users,) bool, who has one, if anybody.
    seed: of the sample of users.
    """
    known = np.zeros(log.entries.n_users, bool)
    known[log.of("train", "validation").user] = True
    new = np.zeros_like(known) if profiles is None else profiles & ~known
    sample = np.zeros_like(known)
    sample[_of(log.of("test", "held_out"), known | new).sample_users(settings.users, seed).user] = True
    seen, test = log.of("train", "validation"), _of(log.of("test"), known & sample)
    held_out = _of(log.of("test", "held_out"), known & sample)
    held_out = held_out.subset(log.cold[held_out.item])
    # A held-out item that the user chose before the test is no recommendation to be judged either way.
    hidden = log.of("train", "validation", "held_out")
    segments = {"all": test, "new_users": _of(log.of("test"), new & sample)}
    segments |= {name: test.subset(own) for name, own in _masks(log, test, settings, present).items()}
    segments = {name: targets for name, targets in segments.items() if len(targets) or name in ("all", "warm")}
    among_all = {name: Task(hidden, targets) for name, targets in segments.items()}
    candidates = log.cold if log.cold.any() else np.ones_like(log.cold)
    return among_all | {"cold": Task(seen, held_out, candidates), "cold_among_all": Task(seen, held_out)}


def _of(log: Interactions, users: Mask) -> Interactions:
    return log.subset(users[log.user])


def _masks(log: OpenedLog, test: Interactions, settings: Evaluate, present: Mapping[str, Mask]) -> dict[str, Mask]:
    """Each segment's mask over the test interactions: (n,) bool."""
    train = log.of("train")
    choices = np.bincount(train.user, minlength=train.n_users)
    head = _head(np.bincount(train.item, minlength=train.n_items), settings.head_choice_share)
    items = {"warm": ~log.cold, "head": head & ~log.cold, "tail": ~head & ~log.cold} | _by_modality(present)
    masks = {name: mask[test.item] for name, mask in items.items()}
    return masks | {"cold_users": choices[test.user] <= settings.cold_user_choices}


def _head(choices: np.ndarray, share: float) -> Mask:
    """The fewest items that together have this share of the choices, equals in the catalogue's order: (n_items,)."""
    order = np.argsort(-choices, kind="stable")
    before = np.cumsum(choices[order]) - choices[order]
    head = np.zeros(len(choices), bool)
    head[order] = (before < share * choices.sum()) & (choices[order] > 0)
    return head


def _by_modality(present: Mapping[str, Mask]) -> dict[str, Mask]:
    if not present:
        return {}
    whole = np.all(list(present.values()), axis=0)
    if whole.all() or not whole.any():
        return {}
    lacking = {f"no_{modality}": ~has for modality, has in present.items()}
    return {**lacking, "all_modalities": whole}
