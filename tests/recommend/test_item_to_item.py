"""The closed forms say what their formulas say, and elsa's short loss is the long one."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn.functional import normalize

from pipeline.config.train import TrainSettings
from pipeline.errors import StepFailed
from pipeline.evaluation.metrics import Scorer, Task, mean_of, rank
from pipeline.interactions import Interactions
from pipeline.recommend import grid_searched, item_to_item
from pipeline.recommend.base import Content
from pipeline.recommend.content_features import symmetric
from pipeline.recommend.grid_searched import Choice, Searched
from pipeline.recommend.item_to_item import top_of_rows
from pipeline.recommend.models import als, svd
from pipeline.recommend.models.als import ALS, AlsSettings
from pipeline.recommend.models.ease import Ease, EaseSettings
from pipeline.recommend.models.elsa import Elsa, ElsaSettings
from pipeline.recommend.models.item_knn import ItemKnn, ItemKnnSettings
from pipeline.recommend.models.popularity import Popularity, PopularitySettings
from pipeline.recommend.models.rp3beta import RP3Beta, Rp3BetaSettings
from pipeline.recommend.models.svd import Svd, SvdSettings
from pipeline.recommend.singular_vectors import singular_vectors
from pipeline.recommend.warm_start import Before
from tests.logs import of_table

USERS, ITEMS = 40, 30
NOTHING = Content(np.zeros((ITEMS, 1), np.float32), np.zeros(ITEMS, bool))


@pytest.fixture(scope="module")
def dense() -> np.ndarray:
    chosen = (np.random.default_rng(0).random((USERS, ITEMS)) < 0.2).astype(np.float64)
    # An item that nobody chose, and a user who chose nothing.
    chosen[:, 7] = 0
    chosen[3] = 0
    return chosen


def scores_of(model: ItemKnn | RP3Beta | Ease, dense: np.ndarray) -> np.ndarray:
    log = of_table(dense)
    model.fit(NOTHING, log)
    return model.scorer(log)(np.arange(USERS))


def kept(weights: np.ndarray, k: int, axis: int) -> np.ndarray:
    """The k largest of each row or column, the others 0."""
    order = np.argsort(-weights, axis=axis, kind="stable")
    rank = np.argsort(order, axis=axis, kind="stable")
    return np.where(rank < k, weights, 0)


@pytest.mark.parametrize("power", [0.0, 0.7])
def test_item_knn_is_the_shrunk_cosine_to_the_nearest(dense: np.ndarray, power: float) -> None:
    settings = ItemKnnSettings(neighbours=(5,), shrink=(2,), user_power=(power,))
    norm, lengths = np.sqrt(dense.sum(axis=0)), np.maximum(dense.sum(axis=1, keepdims=True), 1)
    weights = dense.T @ (dense / lengths**power) / (np.outer(norm, norm) + 2)
    np.fill_diagonal(weights, 0)
    expected = dense @ kept(weights.T, 5, axis=1).T
    np.testing.assert_allclose(scores_of(ItemKnn(settings), dense), expected, atol=1e-5)


def test_rp3beta_is_a_random_walk_less_popularity(dense: np.ndarray) -> None:
    settings = Rp3BetaSettings(alpha=(0.5,), beta=(0.4,), neighbours=(6,))
    users_of, items_of = np.maximum(dense.sum(axis=0), 1), np.maximum(dense.sum(axis=1), 1)
    walk = (dense.T / users_of[:, None]) ** 0.5 @ (dense / items_of[:, None]) ** 0.5 / users_of**0.4
    np.fill_diagonal(walk, 0)
    np.testing.assert_allclose(scores_of(RP3Beta(settings), dense), dense @ kept(walk, 6, axis=1), atol=1e-5)


def test_ease_is_the_ridge_regression_of_every_item_on_the_others(dense: np.ndarray) -> None:
    found = scores_of(Ease(EaseSettings(regularization=(3,))), dense)
    for item in range(ITEMS):
        others = np.delete(np.arange(ITEMS), item)
        x, y = dense[:, others], dense[:, item]
        weights = np.linalg.solve(x.T @ x + 3 * np.eye(len(others)), x.T @ y)
        np.testing.assert_allclose(found[:, item], x @ weights, atol=1e-4)


def test_ease_of_too_many_items_reads_the_most_popular_and_says_so(dense: np.ndarray) -> None:
    model = Ease(EaseSettings(max_items=10))
    found = scores_of(model, dense)
    popular = np.argsort(-dense.sum(axis=0), kind="stable")[:10]
    assert np.flatnonzero(found.any(axis=0)).tolist() == sorted(popular.tolist())
    some = np.count_nonzero(dense.any(axis=0))
    assert model.note == f"looks at the 10 of {some} items most often chosen; see its max_items"


def test_of_a_long_history_the_newest_choices_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_to_item, "LONGEST_HISTORY", 3)
    user, item = np.array([0, 0, 0, 0, 1, 1, 1], np.int32), np.array([4, 2, 0, 1, 3, 0, 2], np.int32)
    log = Interactions(user, item, np.arange(7, 0, -1.0), np.ones(7, np.float32), 2, 5)
    assert item_to_item.pairs_of(log).toarray().tolist() == [[1, 1, 1, 0, 0], [1, 0, 1, 1, 0]]


@pytest.mark.parametrize(("widths", "searched"), [((2, 12, 4), [2, 4]), ((12, 8), [4])])
def test_svd_leaves_out_widths_that_a_catalogue_has_no_room_for(
    dense: np.ndarray, monkeypatch: pytest.MonkeyPatch, widths: tuple[int, ...], searched: list[int]
) -> None:
    monkeypatch.setattr(svd, "MOST_NUMBERS", 4 * ITEMS)
    model = Svd(SvdSettings(widths=widths), 0, 1)
    grid = model.prepare(NOTHING, of_table(dense), model.grid)
    assert grid["width"] == searched
    assert model._q.shape == (ITEMS, 4)


def test_popularity_fades_with_age() -> None:
    dense = np.array([[1, 0], [1, 0], [0, 1]])
    log = of_table(dense, np.array([100.0, 100.0, 0.0]))
    for half_life_days, best in ((10, 1), (10_000, 0)):
        model = Popularity(PopularitySettings(half_life_days=(half_life_days,)))
        model.fit(NOTHING, log)
        assert model.scorer(log)(np.array([0]))[0].argmax() == best


def test_validation_chooses_among_the_settings(dense: np.ndarray) -> None:
    log, generator = of_table(dense), np.random.default_rng(1)
    chosen = dense.astype(bool)
    later = of_table(((generator.random(dense.shape) < 0.1) & ~chosen).astype(float))
    task, by_setting = Task(log, later), {}
    for shrink in (0.0, 50.0):
        one = ItemKnn(ItemKnnSettings(neighbours=(5,), shrink=(shrink,)))
        one.fit(NOTHING, log, later)
        by_setting[shrink] = rank(one.scorer(log), task, (10,)).values["ndcg@10"].mean()
    both = ItemKnn(ItemKnnSettings(neighbours=(5,), shrink=tuple(by_setting)))
    both.fit(NOTHING, log, later)
    assert len(set(by_setting.values())) == 2
    assert both.chosen["shrink"] == max(by_setting, key=lambda shrink: by_setting[shrink])


def test_the_largest_of_a_row_are_kept_and_of_equals_the_first() -> None:
    matrix = sp.csr_matrix(np.array([[0, 3, 3, 3.0], [1, 0, 2, 0], [0, 0, 0, 0]]))
    assert top_of_rows(matrix, 2).toarray().tolist() == [[0, 3, 3, 0], [1, 0, 2, 0], [0, 0, 0, 0]]


def test_elsas_loss_is_that_of_the_whole_reconstruction(dense: np.ndarray) -> None:
    model = Elsa(ElsaSettings(width=8, content_weight=0), 0, 1)
    model._prepare(NOTHING, of_table(dense))
    rows = model._rows.toarray()
    x, a = torch.from_numpy(rows), normalize(model._a, dim=1)
    y = x @ a @ a.T - x
    expected = (normalize(x, dim=1) - normalize(y, dim=1)).square().sum(dim=1).mean()
    assert float(model._loss((np.arange(len(rows)), 1.0)).detach()) == pytest.approx(float(expected), rel=1e-4)


def test_elsa_gives_no_vector_to_an_item_without_choices_or_content(dense: np.ndarray) -> None:
    model = Elsa(ElsaSettings(width=8, max_epochs=2), 0, 1)
    model.fit(NOTHING, of_table(dense))
    assert np.flatnonzero(~model.item_vectors.any(axis=1)).tolist() == [7]
    np.testing.assert_allclose(np.linalg.norm(np.delete(model.item_vectors, 7, axis=0), axis=1), 1, rtol=1e-5)


def test_svd_scores_by_the_largest_singular_vectors(dense: np.ndarray) -> None:
    width, power, spectrum = 6, 0.4, 1.5
    # Of so low a rank that random projections are exact.
    dense = dense[np.arange(USERS) % 12]
    settings = SvdSettings(widths=(width,), popularity_powers=(power,), spectrum_powers=(spectrum,))
    model = Svd(settings, 0, 1)
    model.fit(NOTHING, of_table(dense))
    told = dense[dense.sum(axis=1) > 1]
    with np.errstate(divide="ignore"):
        rows, columns = told.sum(axis=1), np.where(told.any(axis=0), told.sum(axis=0), np.inf)
    _, sigma, vectors = np.linalg.svd(told / np.sqrt(np.outer(rows, columns)))
    q = vectors[:width].T
    degree = np.where(np.isinf(columns), 1, columns)[:, None] ** power
    expected = (dense @ (q / degree)) @ (q * sigma[:width] ** spectrum * degree).T
    np.testing.assert_allclose(model.scorer(of_table(dense))(np.arange(USERS)), expected, atol=1e-5)
    again = Svd(settings, 0, 1)
    again.fit(NOTHING, of_table(dense))
    assert again.item_vectors.tobytes() == model.item_vectors.tobytes()


@pytest.mark.parametrize(("settled", "new", "begins"), [(True, 0.03, True), (False, 0.03, False), (True, 0.04, False)])
def test_svd_of_kept_settings_begins_at_the_night_before(settled: bool, new: float, begins: bool) -> None:
    generator, items, width = np.random.default_rng(0), 200, 12
    chosen = (generator.random((400, items)) < 0.05).astype(np.float64)
    settings = SvdSettings(widths=(width,), popularity_powers=(0.0,), spectrum_powers=(0.0,), content_weight=0)
    # The last items are new today.
    known = round(items * (1 - new))
    earlier, again, cold = (Svd(settings, seed, 1) for seed in (0, 1, 1))
    earlier.fit(NOTHING, of_table(chosen[:, :known]))
    rows = {"items": np.r_[np.arange(known), np.full(items - known, -1)], "users": np.arange(400)}
    weights = {"q": torch.from_numpy(earlier._q)}
    again.before = Before(weights, pytest.fail, rows, {"items": known, "users": 400}, False)
    again.settled = {"width": width, "popularity_power": 0.0, "spectrum_power": 0.0} if settled else {}
    log = of_table(chosen)
    for model in (again, cold):
        model.fit(NOTHING, log)
    matrix = symmetric(log.pairs())
    energy, energy_cold = (float(np.square(matrix @ model._q).sum()) for model in (again, cold))
    assert (energy > energy_cold) == begins
    assert np.array_equal(again._q, cold._q) == (not begins)
    np.testing.assert_allclose(again._q.T @ again._q, np.eye(width), atol=1e-4)


def test_directions_that_only_new_items_have_are_found_from_the_night_before_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New items that are chosen with each other alone, by users of their own: nothing that was known leads there."""
    # Which would find some by chance.
    monkeypatch.setattr("pipeline.recommend.singular_vectors.OVERSAMPLING", 0)
    generator, known, groups, width = np.random.default_rng(0), 600, 20, 24
    group = np.r_[generator.integers(0, groups, known), np.repeat(groups + np.arange(3), 4)]
    users = np.r_[generator.integers(0, groups, 1000), np.repeat(groups + np.arange(3), 8)]
    chosen = (group == users[:, None]) * (
        generator.random((len(users), len(group))) < np.where(users < groups, 0.3, 1)[:, None]
    )
    earlier, _ = singular_vectors(symmetric(sp.csr_matrix(chosen[:1000], dtype=np.float32)), width, 0, 1)
    today = symmetric(sp.csr_matrix(chosen, dtype=np.float32))
    cold, again = (singular_vectors(today, width, 0, 1, begin)[0] for begin in (lambda: None, lambda: earlier))
    for q in (cold, again):
        near = q[known:] @ q[known:].T
        same = group[known:, None] == group[known:]
        assert near[same].min() > 10 * np.abs(near[~same]).max()
    assert float(np.square(today @ again).sum()) > 0.99 * float(np.square(today @ cold).sum())


@pytest.mark.parametrize("combined", [0, 10_000])
def test_svd_takes_the_settings_that_validation_prefers_and_keeps_them(
    dense: np.ndarray, monkeypatch: pytest.MonkeyPatch, combined: int
) -> None:
    monkeypatch.setattr(grid_searched, "MOST_COMBINED", combined)
    settings = SvdSettings(widths=(2, 12), popularity_powers=(0.5, 0.0), spectrum_powers=(0.0, 2.0))
    hidden = (np.random.default_rng(1).random(dense.shape) < 0.3) & (dense > 0)
    train, validation = of_table(dense * ~hidden), of_table(dense * hidden)
    fit = Svd(settings, 0, 1).fit(NOTHING, train, validation)
    model = Svd(settings, 0, 1)
    model.prepare(NOTHING, train, model.grid)

    def ndcg(chosen: tuple[float, ...]) -> float:
        scorer = model.scorer_of(model.state_of(NOTHING, train, dict(zip(model.grid, chosen, strict=True))), train)
        return mean_of(scorer, Task(train, validation), "ndcg@10")

    best = max(product(*model.grid.values()), key=ndcg)
    assert tuple(fit.settings.values()) == best
    refitted = Svd(settings, 0, 1)
    refitted.refit(NOTHING, train.concat(validation), fit)
    assert refitted.item_vectors.shape == (ITEMS, best[0])


@pytest.mark.parametrize(("combined", "chosen"), [(3, (1, 1)), (2, (0, 0))])
def test_only_of_a_short_log_every_combination_is_fitted(
    monkeypatch: pytest.MonkeyPatch, combined: int, chosen: tuple[int, int]
) -> None:
    """The best combination lies where no single setting leads."""
    monkeypatch.setattr(grid_searched, "MOST_COMBINED", combined)
    log = of_table(np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]))
    wanted = of_table(np.array([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]))
    model = Hill(TrainSettings(), 0, 1)
    assert tuple(model.fit(NOTHING, log, wanted).settings.values()) == chosen


class Hill(Searched[np.ndarray]):
    """Ranks best with both settings, worse with neither, worst with one."""

    vectors = False

    @property
    def grid(self) -> dict[str, tuple[int, int]]:
        return {"left": (0, 1), "right": (0, 1)}

    def state_of(self, content: Content, train: Interactions, settings: Choice) -> np.ndarray:
        worth = {(1, 1): 3, (0, 0): 1}.get((int(settings["left"]), int(settings["right"])), -1)
        return np.array([0, worth, -5, worth], np.float32)

    def scorer_of(self, state: np.ndarray, history: Interactions) -> Scorer:
        liked = np.array([2.0, 0, 2.0, 0], np.float32) if state[1] < 2 else np.zeros(4, np.float32)
        return lambda users: np.tile(state + liked, (len(users), 1)).astype(np.float32)


def test_svd_puts_a_new_item_where_its_content_is(dense: np.ndarray) -> None:
    halves = np.zeros((USERS, ITEMS))
    halves[:20, :15] = dense[:20, :15]
    halves[20:, 15:] = dense[20:, 15:]
    halves[:, [5, 20]] = 0
    vectors = np.random.default_rng(2).normal(size=(ITEMS, 8)).astype(np.float32)
    vectors[:15, 0] += 6
    content = Content(vectors, np.ones(ITEMS, bool), None, {"text": (vectors, np.ones(ITEMS, bool))})
    model = Svd(SvdSettings(widths=(4,)), 0, 1)
    model.fit(content, of_table(halves))
    scores = model.scorer(of_table(halves))(np.arange(USERS))
    assert scores[:20, 5].mean() > 2 * scores[:20, 20].mean()
    assert scores[20:, 20].mean() > 2 * scores[20:, 5].mean()


def test_svd_of_single_choices_says_what_to_do(dense: np.ndarray) -> None:
    with pytest.raises(StepFailed, match=r"train\.model"):
        Svd(SvdSettings(), 0, 1).fit(NOTHING, of_table(np.eye(USERS, ITEMS)))


def test_where_items_are_many_fewer_neighbours_are_kept_and_that_is_said(
    dense: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_to_item, "MOST_ENTRIES", 3 * ITEMS)
    for kind in (ItemKnn, RP3Beta):
        model = kind(kind.Settings(neighbours=(5,)), 0, 1)
        model.fit(NOTHING, of_table(dense))
        assert np.diff(model.state.indptr).sum() <= 3 * ITEMS
        assert model.note == "keeps 3 of 5 neighbours of an item, as the catalogue is large"
        few = kind(kind.Settings(neighbours=(3,)), 0, 1)
        few.fit(NOTHING, of_table(dense))
        assert few.note == ""
        assert (few.state != model.state).nnz == 0


def test_als_goes_on_from_the_settings_before_while_a_long_logs_are_searched(
    dense: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = of_table(dense)
    validation = log.subset(np.random.default_rng(3).random(len(log)) < 0.2)
    alone = ALS(AlsSettings(factors=4, regularization=(1,), alpha=(1,)), 0, 1)
    alone.fit(NOTHING, log)
    for most, iterations in ((len(log), {15}), (len(log) - 1, {15, 5})):
        monkeypatch.setattr(als, "MOST_COMBINED", most)
        seen = set()
        model = ALS(AlsSettings(factors=4), 0, 1)
        state_of = model.state_of

        def noted(*arguments: object, state_of: Any = state_of, seen: set[int] = seen) -> Any:
            state = state_of(*arguments)
            seen.add(state.iterations)
            return state

        monkeypatch.setattr(model, "state_of", noted)
        model.fit(NOTHING, log, validation)
        assert seen == iterations
    # A fit of one setting begins anew, whatever was fitted before.
    again = ALS(AlsSettings(factors=4, regularization=(1,), alpha=(1,)), 0, 1)
    again.fit(NOTHING, log)
    np.testing.assert_array_equal(again.item_vectors, alone.item_vectors)
