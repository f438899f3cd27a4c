from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.fusion.base import Frontend
from pipeline.fusion.kinds.linear import LinearFusion, LinearSettings
from pipeline.fusion.moments import Vectors
from pipeline.fusion.saved import load, save

SETTINGS = LinearSettings(width=16, weights={"text": 2})


def modalities(n: int = 200, missing: float = 0.3) -> dict[str, Vectors]:
    generator = np.random.default_rng(0)
    vectors = {m: generator.standard_normal((n, d)).astype(np.float32) for m, d in (("text", 24), ("image", 12))}
    vectors["image"][generator.random(n) < missing] = np.nan
    return vectors


def fitted(vectors: dict[str, Vectors]) -> LinearFusion:
    return linear({m: [v[~np.isnan(v[:, 0])]] for m, v in vectors.items()})


def linear(
    batches: Mapping[str, Iterable[Vectors]],
    settings: LinearSettings = SETTINGS,
    spaces: dict[str, str] | None = None,
) -> LinearFusion:
    return LinearFusion(Frontend.fit(batches, settings.width, 0, spaces), settings)  # type: ignore[arg-type]


def test_a_missing_modality_is_left_out_and_the_weights_renormalised() -> None:
    vectors = modalities()
    fused, shares = fitted(vectors).transform(vectors)  # type: ignore[arg-type]
    without = np.isnan(vectors["image"][:, 0])
    np.testing.assert_allclose(shares[~without], [[2 / 3, 1 / 3]] * int((~without).sum()), rtol=1e-6)
    np.testing.assert_allclose(shares[without], [[1, 0]] * int(without.sum()))
    np.testing.assert_allclose(np.linalg.norm(fused, axis=1), 1, rtol=1e-5)
    text_only, _ = fitted(vectors).transform({"text": vectors["text"][without]})
    np.testing.assert_allclose(fused[without], text_only, atol=1e-6)


def test_an_item_without_any_modality_gets_no_vector() -> None:
    vectors = modalities()
    vectors["text"][3] = vectors["image"][3] = np.nan
    fused, shares = fitted(vectors).transform(vectors)  # type: ignore[arg-type]
    assert np.isnan(fused[3]).all()
    assert (shares[3] == 0).all()


def test_likeness_within_a_modality_survives_the_projection() -> None:
    generator = np.random.default_rng(1)
    kinds = generator.standard_normal((5, 40))
    kind = generator.integers(0, 5, 300)
    vectors = (kinds[kind] + 0.3 * generator.standard_normal((300, 40))).astype(np.float32)
    fused, _ = linear({"audio": [vectors]}).transform({"audio": vectors})
    same = kind[:, None] == kind[None]
    likeness = fused @ fused.T
    assert likeness[same].mean() > 0.7
    assert likeness[~same].mean() < 0.1


def test_batches_do_not_matter_and_a_seed_gives_the_same_bytes() -> None:
    vectors = modalities(missing=0)
    whole = fitted(vectors).frontend.projections
    split = linear({m: np.array_split(v, 7) for m, v in vectors.items()})
    again = fitted(vectors).frontend.projections
    for modality, projection in whole.items():
        np.testing.assert_allclose(projection.matrix, split.frontend.projections[modality].matrix, atol=1e-4)
        assert projection.matrix.tobytes() == again[modality].matrix.tobytes()


def test_saved_weights_are_read_back(tmp_path: Path) -> None:
    vectors = modalities()
    save(fitted(vectors), tmp_path / "fusion.safetensors")
    again, _ = load(tmp_path / "fusion.safetensors").transform(vectors)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again, fitted(vectors).transform(vectors)[0])  # type: ignore[arg-type]


def test_weights_of_zero_are_refused() -> None:
    settings = LinearSettings(weights={"text": 0})
    with pytest.raises(ConfigError, match=r"fuse\.weights: give at least one of text"):
        linear({"text": [np.ones((3, 4), np.float32)]}, settings)


def test_modalities_of_one_joint_space_stay_comparable_and_others_do_not() -> None:
    generator = np.random.default_rng(2)
    told = generator.standard_normal((400, 16)).astype(np.float32)
    seen = told + 0.2 * generator.standard_normal((400, 16)).astype(np.float32) + 3  # the gap between modalities
    vectors = {"text": told, "image": seen}

    def found(spaces: dict[str, str]) -> float:
        fusion = linear({m: [v] for m, v in vectors.items()}, spaces=spaces)
        text, _ = fusion.transform({"text": told})
        image, _ = fusion.transform({"image": seen})
        return float(((text @ image.T).argmax(axis=1) == np.arange(400)).mean())

    assert found({"text": "clip", "image": "clip"}) > 0.9
    assert found({}) < 0.05
