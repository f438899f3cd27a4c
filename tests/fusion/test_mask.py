"""Projections, masks and weights by hand: what an item lacks is masked, the weights of what it has are scaled up."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.fusion.base import Frontend, given_weights
from pipeline.fusion.kinds.concat import ConcatFusion, ConcatSettings
from pipeline.fusion.kinds.linear import LinearFusion, LinearSettings
from pipeline.fusion.moments import Moments, Projection, rotation
from pipeline.fusion.projected import InMemory
from pipeline.interactions import unit_rows

NAN = np.nan
NAMES = ("text", "image", "audio")


def plain(*names: str, width: int = 2, mean: float = 0.0) -> Frontend:
    """Projections that only take a mean away and scale to unit norm."""
    eye, means = np.eye(width, dtype=np.float32), np.full(width, mean, np.float32)
    return Frontend({name: Projection(means, eye) for name in names}, width)


def column(*rows: list[float] | None) -> np.ndarray:
    return np.array([[NAN, NAN] if row is None else row for row in rows], np.float32)


def test_what_is_missing_is_masked_and_zero() -> None:
    vectors = {
        "text": column([3, 4], None, [0, 2]),
        "audio": column([0, 1], [5, 0], None),
        "video": column(None, None, None),
    }
    projected, mask = plain(*NAMES).project(vectors)
    assert projected.dtype == np.float32
    assert mask.dtype == bool
    assert mask.tolist() == [[True, False, True], [False, False, True], [True, False, False]]
    np.testing.assert_allclose(projected[:, 0], [[0.6, 0.8], [0, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(projected[:, 1], 0)
    np.testing.assert_allclose(projected[:, 2], [[0, 1], [1, 0], [0, 0]], atol=1e-6)


def test_a_vector_at_the_mean_says_nothing_and_is_missing() -> None:
    projected, mask = plain("text", mean=1).project({"text": column([1, 1], [2, 1])})
    assert mask.tolist() == [[False], [True]]
    np.testing.assert_allclose(projected[:, 0], [[0, 0], [1, 0]])


def test_a_bucket_without_items_may_be_of_any_width() -> None:
    projected, mask = plain("text", "image").project({"text": np.zeros((0, 7), np.float32)})
    assert (projected.shape, mask.shape) == ((0, 2, 2), (0, 2))


@pytest.mark.parametrize(
    ("keep", "names"), [((True, False, True), ["text", "audio"]), ((False, True, False), ["image"])]
)
def test_some_of_the_modalities_keep_their_projections(keep: tuple[bool, ...], names: list[str]) -> None:
    whole = plain(*NAMES)
    some = whole.only(np.array(keep))
    assert (some.modalities, some.width) == (names, 2)
    assert all(some.projections[name] is whole.projections[name] for name in names)
    tensors = whole.tensors()
    assert set(tensors) == {f"{name}.{part}" for name in NAMES for part in ("mean", "matrix")}
    again = Frontend.of(tensors, names, 2)
    assert (again.modalities, again.width) == (names, 2)
    np.testing.assert_array_equal(again.projections[names[0]].matrix, np.eye(2))
    np.testing.assert_array_equal(again.projections[names[0]].mean, np.zeros(2))


def test_a_frontend_fits_what_has_vectors_each_with_its_own_rotation_or_one_for_a_joint_space() -> None:
    generator = np.random.default_rng(0)
    batches = {name: generator.standard_normal((2, 30, 5)).astype(np.float32) for name in NAMES}
    nothing = {"sensor": [np.zeros((0, 3), np.float32)]}
    fitted = Frontend.fit({**nothing, **batches}, 4, 9)
    assert (fitted.modalities, fitted.width) == (list(NAMES), 4)
    sums = {name: Moments() for name in NAMES}
    for name in NAMES:
        sums[name].add(batches[name].reshape(60, 5))
    for place, name in enumerate(NAMES, start=1):
        alone = sums[name].projection(4, rotation(4, [9, place]))
        np.testing.assert_allclose(fitted.projections[name].matrix, alone.matrix, atol=1e-5)
        np.testing.assert_allclose(fitted.projections[name].mean, alone.mean, atol=1e-6)
    joint = Frontend.fit({**nothing, **batches}, 4, 9, {"text": "clip", "audio": "clip", "image": ""})
    together = [sums["text"], sums["audio"]]
    for name, place, like in (("text", 1, together), ("image", 2, [sums["image"]]), ("audio", 1, together)):
        expected = sums[name].projection(4, rotation(4, [9, place]), like)
        np.testing.assert_allclose(joint.projections[name].matrix, expected.matrix, atol=1e-5)


def test_weights_are_those_given_and_one_where_none_is() -> None:
    settings = LinearSettings(weights={"image": 0.5, "video": 3})
    weights = given_weights(plain(*NAMES), settings)
    assert weights.dtype == np.float32
    assert weights.tolist() == [1, 0.5, 1]
    assert given_weights(plain(), settings).tolist() == []
    assert given_weights(plain("text", "audio"), LinearSettings(weights={"text": 0})).tolist() == [0, 1]
    with pytest.raises(ConfigError, match=r"^fuse\.weights: give at least one of text, image a weight above 0$"):
        given_weights(plain("text", "image"), LinearSettings(weights={"text": 0, "image": 0}))


def linear(**weights: float) -> LinearFusion:
    return LinearFusion(plain(*NAMES), LinearSettings(width=2, weights=weights))


def test_linear_weights_are_renormalised_over_what_an_item_has() -> None:
    right, up = [1, 0], [0, 1]
    vectors = {"text": column(right, right, None, None, None), "image": column(up, None, up, None, up)}
    vectors["audio"] = column(up, up, None, None, right)
    fused, shares = linear(text=2, image=1, audio=5).transform(vectors)
    expected = [[2 / 8, 1 / 8, 5 / 8], [2 / 7, 0, 5 / 7], [0, 1, 0], [0, 0, 0], [0, 1 / 6, 5 / 6]]
    np.testing.assert_allclose(shares, expected, rtol=1e-6)
    directions = np.array([[2, 6], [2, 5], [0, 1], [NAN, NAN], [5, 1]], np.float32)
    np.testing.assert_allclose(fused, directions / np.linalg.norm(directions, axis=1, keepdims=True), rtol=1e-5)
    assert (fused.dtype, shares.dtype) == (np.float32, np.float32)


def test_weights_below_one_are_renormalised_too() -> None:
    _, shares = linear(text=0.25, image=0.25, audio=0.25).transform(
        {"text": column([1, 0], [1, 0]), "audio": column([0, 1], None)}
    )
    assert shares.tolist() == [[0.5, 0.5], [1, 0]]


def test_a_modality_of_weight_zero_counts_nothing_and_cannot_stand_alone() -> None:
    fused, shares = linear(text=0).transform({"text": column([1, 0], [1, 0]), "audio": column([0, 1], None)})
    assert shares.tolist() == [[0, 1], [0, 0]]
    np.testing.assert_allclose(fused, [[0, 1], [NAN, NAN]])


def test_shares_stand_in_the_order_of_what_is_given_and_of_what_no_projection_knows_are_zero() -> None:
    vectors = {"audio": column([0, 1]), "video": column([1, 1]), "text": column([1, 0])}
    _, shares = linear(text=3, audio=1).transform(vectors)
    assert shares.tolist() == [[0.25, 0, 0.75]]


def test_of_a_catalogue_some_modalities_may_be_looked_at_alone() -> None:
    projected, mask = plain(*NAMES).project({"text": column([1, 0], None), "image": column([0, 1], [0, 1])})
    fusion, codes = linear(), np.array([1, 0, 0])
    keep = np.array([[True, True, True], [True, False, True], [False, False, True]])
    fused, shares = fusion.vectors(InMemory(projected, mask), codes, keep)
    assert shares.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(fused, [[0, 1], [1, 0], [NAN, NAN]])
    whole, halves = fusion.catalogue(InMemory(projected, mask), codes)
    assert halves.tolist() == [[0, 1, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]]
    np.testing.assert_allclose(whole[1], np.sqrt([0.5, 0.5]), rtol=1e-6)


def concat(weights: dict[str, float]) -> ConcatFusion:
    """Two modalities side by side, whose axes add them up, less a mean."""
    fusion = ConcatFusion(plain("text", "image"), ConcatSettings(width=2, weights=weights))
    fusion.restore(
        {
            "concat.mean": np.array([0.1, 0.3, -0.4, 0.2], np.float32),
            "concat.axes": np.tile(np.eye(2), (2, 1)).astype(np.float32),
        }
    )
    return fusion


def test_concatenation_scales_what_an_item_has_to_the_whole_weight() -> None:
    vectors = {"text": column([1, 0], [1, 0], None, None), "image": column([0, 1], None, [0, 1], None)}
    fused, shares = concat({"text": 2, "image": 1}).transform(vectors)
    text, image = np.array([2 - 0.1, -0.3]), np.array([0.4, 1 - 0.2])
    # √5 is the length of both weights: alone, a modality counts as much as the two would.
    alone = [np.array([np.sqrt(5) - 0.1, -0.3]), np.array([0.4, np.sqrt(5) - 0.2])]
    expected = np.stack([text + image, *alone, [NAN, NAN]])
    np.testing.assert_allclose(fused, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5)
    both = (text + image) @ (text + image)
    rows = [[text @ (text + image) / both, image @ (text + image) / both], [1, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(shares, rows, rtol=1e-5)


def test_of_a_modality_of_weight_zero_concatenation_takes_no_mean_either() -> None:
    vectors = {"text": column([1, 0], [1, 0]), "image": column([0, 1], None)}
    fused, shares = concat({"text": 0}).transform(vectors)
    np.testing.assert_allclose(fused, [unit_rows(np.array([[0.4, 0.8]], np.float32))[0], [NAN, NAN]], rtol=1e-5)
    assert shares.tolist() == [[0, 1], [0, 0]]


def fitted(batches: dict[str, list[np.ndarray]], spaces: dict[str, str] | None = None) -> LinearFusion:
    """The weighted sum, its projections fitted on batches."""
    return LinearFusion(Frontend.fit(batches, 16, 0, spaces), LinearSettings(width=16))


def test_likeness_within_a_modality_survives_the_projection() -> None:
    generator = np.random.default_rng(1)
    kinds = generator.standard_normal((5, 40))
    kind = generator.integers(0, 5, 300)
    vectors = (kinds[kind] + 0.3 * generator.standard_normal((300, 40))).astype(np.float32)
    fused, _ = fitted({"audio": [vectors]}).transform({"audio": vectors})
    same = kind[:, None] == kind[None]
    likeness = fused @ fused.T
    assert likeness[same].mean() > 0.7
    assert likeness[~same].mean() < 0.1


def test_batches_do_not_matter_and_a_seed_gives_the_same_bytes() -> None:
    generator = np.random.default_rng(0)
    vectors = {m: generator.standard_normal((200, d)).astype(np.float32) for m, d in (("text", 24), ("image", 12))}
    whole, again = (fitted({m: [v] for m, v in vectors.items()}).frontend.projections for _ in range(2))
    split = fitted({m: np.array_split(v, 7) for m, v in vectors.items()}).frontend.projections
    for modality, projection in whole.items():
        np.testing.assert_allclose(projection.matrix, split[modality].matrix, atol=1e-4)
        assert projection.matrix.tobytes() == again[modality].matrix.tobytes()


def test_modalities_of_one_joint_space_stay_comparable_and_others_do_not() -> None:
    generator = np.random.default_rng(2)
    told = generator.standard_normal((400, 16)).astype(np.float32)
    seen = told + 0.2 * generator.standard_normal((400, 16)).astype(np.float32) + 3  # the gap between modalities
    vectors = {"text": told, "image": seen}

    def found(spaces: dict[str, str]) -> float:
        fusion = fitted({m: [v] for m, v in vectors.items()}, spaces)
        text, _ = fusion.transform({"text": told})
        image, _ = fusion.transform({"image": seen})
        return float(((text @ image.T).argmax(axis=1) == np.arange(400)).mean())

    assert found({"text": "clip", "image": "clip"}) > 0.9
    assert found({}) < 0.05
