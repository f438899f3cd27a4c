"""The re-ranker learns from what users were shown: by what came before, of what came after, and only where it helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from pipeline.config.rerank import Rerank as Settings
from pipeline.evaluation.calibration import quality
from pipeline.interactions import Floats, Interactions, unit_rows
from pipeline.rerank import pairs as pairs_of_rounds
from pipeline.rerank.fit import Part, RankerFit, fit_ranker, refit_ranker
from pipeline.rerank.impressions import labelled, learned_from_shown, pairs_of
from pipeline.rerank.snapshot import Catalogue, FirstStage
from pipeline.training.context import Context
from tests.logs import of_rows

USERS, ITEMS, GROUPS, VISITS, PAGE = 60, 60, 4, 14, 5
HOUR = 1 / 24
SETTINGS = Settings(
    learn_from="shown", candidates=30, rounds=3, max_epochs=8, width=8, hidden=16, batch_pairs=128,
    chosen_within_days=0.5, min_shown_choices=100,
)  # fmt: skip


class World:
    """Each day a user is shown a page of items, and an hour later chooses one of them: the one of the group that the
    user likes, which a picture shows and the first stage's vectors do not.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        group = np.arange(ITEMS) % GROUPS
        picture = unit_rows(np.eye(GROUPS, 6, dtype=np.float32)[group] + 0.1)
        self.vectors = unit_rows(generator.standard_normal((ITEMS, 8)).astype(np.float32))
        self.by_user = unit_rows(generator.standard_normal((USERS, 8)).astype(np.float32))
        self.items = Catalogue(self.vectors, {"image": (picture, np.ones(ITEMS, bool))}, np.ones(ITEMS, bool))
        choices, shown = [], []
        for user in range(USERS):
            liked = generator.permutation(np.flatnonzero(group == user % GROUPS))
            others = np.flatnonzero(group != user % GROUPS)
            for visit, item in enumerate(liked[:VISITS]):
                age = float(VISITS - visit) + user / USERS / 4
                choices.append((user, int(item), age))
                page = [item, *generator.choice(others, PAGE - 1, replace=False)]
                shown += [(user, int(one), age + HOUR) for one in page]
        log, pages = of_rows(choices, USERS, ITEMS), of_rows(shown, USERS, ITEMS)
        later, pages_later = log.age_days < 3, pages.age_days < 3
        self.train = Part(log.subset(~later), pages.subset(~pages_later))
        self.validation = Part(log.subset(later), pages.subset(pages_later))

    @property
    def first(self) -> FirstStage:
        return FirstStage(self.items, self.users)

    def users(self, history: Interactions) -> Floats:
        return self.by_user * (np.bincount(history.user, minlength=USERS) > 0)[:, None]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def fit(world: World, settings: Settings = SETTINGS, train: Part | None = None) -> tuple[bytes, RankerFit]:
    found = fit_ranker(world.first, train or world.train, settings, Context(), world.validation)
    assert found is not None
    return b"".join(value.numpy().tobytes() for value in found[0].network.state_dict().values()), found[1]


def test_a_showing_is_chosen_if_it_was_first_chosen_soon_after() -> None:
    chosen_at = [(0, 1, 9.0), (0, 2, 8.0), (0, 3, 5.0), (0, 4, 9.0), (0, 4, 3.0), (1, 1, 0.0)]
    choices = of_rows(chosen_at, USERS, ITEMS)
    shown = of_rows(
        [
            (0, 1, 9.5),  # chosen half a day later
            (0, 2, 8.0),  # at that moment
            (0, 3, 8.5),  # too late
            (0, 3, 5.5),  # shown again, and chosen
            (0, 4, 3.5),  # had it before, though it was chosen again
            (0, 5, 7.0),  # never
            (1, 4, 6.0),  # chosen by another only
            (0, 6, 0.5),  # its day is not over
            (1, 1, 0.5),  # chosen, but its day is not over either
        ],
        USERS,
        ITEMS,
    )
    told, chosen = labelled(shown, choices, 1.0)
    found = {(u, i, a): c for u, i, a, c in zip(told.user, told.item, told.age_days, chosen, strict=True)}
    assert found == {
        (0, 1, 9.5): True, (0, 2, 8.0): True, (0, 3, 8.5): False, (0, 3, 5.5): True, (0, 5, 7.0): False,
        (1, 4, 6.0): False,
    }  # fmt: skip
    nobody = choices.subset(np.zeros(len(choices), bool))
    assert len(labelled(shown, nobody, 1.0)[0]) == 0


def test_each_showing_is_a_pair_by_a_history_that_is_older_and_as_it_was_shown(world: World) -> None:
    def dated(history: Interactions) -> Floats:
        """Vectors that tell the user and the newest choice of the history."""
        return np.stack([np.arange(USERS) + 1, np.full(USERS, history.age_days.min())], axis=1).astype(np.float32)

    items = replace_vectors(world.items, 2)
    found = learned_from_shown(FirstStage(items, dated), world.train.chosen, world.train.shown, SETTINGS, 0)
    assert found is not None
    user, newest = found.users[found.user, 0].astype(int) - 1, found.users[found.user, 1]
    told, chosen = labelled(world.train.shown, world.train.chosen, SETTINGS.chosen_within_days)
    cut = newest.max()
    ours = sorted(zip(user.tolist(), found.item.tolist(), found.chosen.tolist(), strict=True))
    late = told.age_days.astype(np.float32) < cut
    assert ours == sorted(zip(told.user[late].tolist(), told.item[late].tolist(), chosen[late].tolist(), strict=True))
    ages: dict[tuple[int, int], list[float]] = {}
    for one, item, age in zip(told.user.tolist(), told.item.tolist(), told.age_days.tolist(), strict=True):
        ages.setdefault((one, item), []).append(age)
    once = [(at, ages[pair][0]) for at, pair in enumerate(zip(user, found.item, strict=True)) if len(ages[pair]) == 1]
    assert len(once) > 200
    assert all(newest[at] > age for at, age in once)
    assert len(np.unique(newest)) == SETTINGS.rounds
    assert not found.log_rate.any(), "nothing was drawn, so nothing is corrected"


def replace_vectors(catalogue: Catalogue, width: int) -> Catalogue:
    return Catalogue(np.ones((ITEMS, width), np.float32), catalogue.modalities, np.ones(ITEMS, bool))


def test_what_comes_after_a_showing_changes_none_of_its_numbers(world: World) -> None:
    log, cut = world.train.chosen, 5.0
    later = log.age_days < cut
    item = np.where(later, (log.item + GROUPS) % ITEMS, log.item).astype(np.int32)
    other = replace(log, item=item)
    early = world.train.shown.subset(world.train.shown.age_days > cut + SETTINGS.chosen_within_days)
    rows = []
    for choices in (log, other):
        found = learned_from_shown(world.first, choices, early, SETTINGS, 0)
        assert found is not None
        rows.append(found)
    np.testing.assert_array_equal(rows[0].scalars, rows[1].scalars)
    np.testing.assert_array_equal(rows[0].users, rows[1].users)
    np.testing.assert_array_equal(rows[0].chosen, rows[1].chosen)
    assert len(rows[0]) > 300


def test_it_learns_what_users_choose_of_what_they_are_shown_and_says_how_likely(world: World) -> None:
    _, how = fit(world)
    assert (how.learned_from, how.used) == ("shown", True)
    assert how.chosen_pairs * (PAGE - 1) < how.pairs < how.chosen_pairs * (PAGE + 1)
    found = fit_ranker(world.first, world.train, SETTINGS, Context(), world.validation)
    assert found is not None
    snapshot = world.first.after(world.train.chosen)
    told = labelled(world.validation.shown, world.train.chosen.concat(world.validation.chosen), 0.5)
    pairs = pairs_of(snapshot, *told, SETTINGS, np.random.default_rng(0))
    chances = expit(found[0].logits(pairs.users, pairs.user, pairs.item, pairs.scalars).astype(np.float64))
    measured = quality(chances, pairs.chosen)
    # One in a page is chosen, which no share of all items or of candidates is.
    assert measured["share_chosen"] == pytest.approx(1 / PAGE, abs=0.03)
    assert chances.mean() == pytest.approx(measured["share_chosen"], rel=0.02)
    assert measured["auc"] > 0.9


def test_validation_chooses_between_what_was_shown_and_drawn_pairs(world: World) -> None:
    auto = SETTINGS.model_copy(update={"learn_from": "auto"})
    sampled = SETTINGS.model_copy(update={"learn_from": "sampled"})
    # Whoever is shown everything but what they like learns nothing of that from it.
    pages = world.train.shown
    misled = Part(world.train.chosen, replace(pages, item=np.roll(pages.item, PAGE * 7).astype(np.int32)))
    by_shown, by_drawn = fit(world), fit(world, sampled)
    assert set(by_drawn[1].by_source) == {"sampled"}
    chosen = fit(world, auto)
    assert chosen[1].by_source == by_shown[1].by_source | by_drawn[1].by_source
    better = max(chosen[1].by_source, key=lambda source: chosen[1].by_source[source])
    assert chosen[1].learned_from == better
    assert chosen[0] == (by_shown if better == "shown" else by_drawn)[0]
    few = auto.model_copy(update={"min_shown_choices": 10_000})
    assert fit(world, few)[0] == fit(world, auto, Part.without_shown(world.train.chosen))[0] == by_drawn[0]
    assert fit(world, auto.model_copy(update={"min_shown_choices": 1}), misled)[1].learned_from == "sampled"


def test_where_nothing_was_shown_or_all_of_it_chosen_there_is_nothing_to_learn_from_it(world: World) -> None:
    nothing = Part.without_shown(world.train.chosen)
    all_chosen = Part(world.train.chosen, world.train.chosen)
    for train in (nothing, all_chosen):
        assert fit_ranker(world.first, train, SETTINGS, Context(), world.validation) is None
    found = fit_ranker(world.first, world.train, SETTINGS, Context(), Part.without_shown(world.validation.chosen))
    assert found is not None
    snapshot = world.first.after(world.train.chosen)
    told = labelled(nothing.shown, world.train.chosen, 0.5)
    pairs = pairs_of(snapshot, *told, SETTINGS, np.random.default_rng(0))
    assert len(found[0].logits(pairs.users, pairs.user, pairs.item, pairs.scalars)) == len(pairs) == 0


def test_the_published_fit_repeats_it(world: World) -> None:
    found = fit_ranker(world.first, world.train, SETTINGS, Context(), world.validation)
    assert found is not None
    again = refit_ranker(world.first, world.train, SETTINGS, Context(), found[1].epochs, found[0].network)
    assert again is not None
    for name, value in again[0].network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), found[0].network.state_dict()[name].numpy(), err_msg=name)


def test_of_many_who_were_shown_something_a_seeded_sample_is_learned_from(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_of_rounds, "FEWEST_USERS", 1)
    monkeypatch.setattr(pairs_of_rounds, "MAX_USERS", 7)
    learnt = [
        learned_from_shown(world.first, world.train.chosen, world.train.shown, SETTINGS, seed) for seed in (0, 0, 1)
    ]
    sizes = [len(pairs.users) for pairs in learnt if pairs is not None]
    assert sizes == [7 * SETTINGS.rounds] * 3
    samples = [set(map(bytes, pairs.users)) for pairs in learnt if pairs is not None]
    assert samples[0] == samples[1] != samples[2]
