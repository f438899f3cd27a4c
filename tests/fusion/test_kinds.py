from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artefacts.fused import Fused
from pipeline.config import FUSIONS, Fuse
from pipeline.errors import ShardCorrupt, StepFailed
from pipeline.evaluation.item_similarity import questions, recall
from pipeline.fusion.base import Fusion
from pipeline.fusion.fit import Fitted, fit
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import InMemory, Projected
from pipeline.fusion.saved import load, load_catalogue, save, save_catalogue
from pipeline.steps.fuse import write_items
from tests.fusion.planted import Planted, planted, write

KINDS = ("linear", "linear-learned", "concat", "concat-whitened", "dnn", "attention", "gnn", "align")
LEARNED = ("dnn", "attention", "gnn", "align")
LEARN = {"agreement": 0.1, "pairs": 4096, "batch_pairs": 128, "max_epochs": 15, "patience_epochs": 4}
SHORT = {"max_epochs": 2, "pairs": 512}


def settings(kind: str, learn: dict[str, float] | None = None, **own: Any) -> Fuse:
    name, _, variant = kind.partition("-")
    values: dict[str, Any] = {"width": 96, **own}
    if name in LEARNED:
        values |= {"hidden": 64}
    if name in LEARNED or variant == "learned":
        values |= {"learn": {**LEARN, **(learn or {})}}
    if name == "gnn":
        values = {"neighbours": 5, "co_chosen": 5} | values
    if variant == "whitened":
        values |= {"whitening": True}
    return FUSIONS.find(name).Settings(**values)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return planted(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module", params=KINDS)
def fitted(request: pytest.FixtureRequest, shop: Planted, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(settings(request.param), shop.material, tmp_path_factory.mktemp("scratch"))


def projected_of(fitted: Fitted, shop: Planted) -> Projected:
    return fitted.projected or InMemory(*fitted.fusion.frontend.project(shop.vectors))


def everything(fusion: Fusion, projected: Projected, shop: Planted, places: tuple[int, ...] = (0, 1, 2)) -> Vectors:
    codes = np.arange(len(shop.log.items))
    keep = np.isin(range(3), places)[None].repeat(len(codes), axis=0)
    return fusion.vectors(projected, codes, keep)[0]


def score(vectors: Vectors, shop: Planted, segment: str) -> float:
    asked = questions(shop.log, segment, 10, 0)
    return float(recall(vectors, asked, 10).values["recall@10"].mean())


def test_every_kind_gives_unit_vectors_and_shares_that_add_up(fitted: Fitted, shop: Planted) -> None:
    vectors, shares = fitted.fusion.catalogue(projected_of(fitted, shop), np.arange(len(shop.log.items)))
    has = np.stack([~np.isnan(v[:, 0]) for v in shop.vectors.values()], axis=1)
    np.testing.assert_allclose(np.linalg.norm(vectors[has.any(axis=1)], axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(shares.sum(axis=1), has.any(axis=1), atol=1e-4)
    assert np.abs(shares[~has]).max() < 1e-4, "a modality that an item lacks counts for nothing"


def test_an_item_without_any_modality_gets_no_vector_and_disturbs_nobody(fitted: Fitted, shop: Planted) -> None:
    vectors = everything(fitted.fusion, projected_of(fitted, shop), shop)
    assert np.flatnonzero(np.isnan(vectors[:, 0])).tolist() == [7]


def test_any_subset_of_modalities_has_a_vector_of_its_own(fitted: Fitted, shop: Planted) -> None:
    projected = projected_of(fitted, shop)
    whole = everything(fitted.fusion, projected, shop)
    for place, modality in enumerate(shop.vectors):
        alone = everything(fitted.fusion, projected, shop, (place,))
        missing = np.isnan(shop.vectors[modality][:, 0])
        assert np.isnan(alone[missing]).all()
        np.testing.assert_allclose(np.linalg.norm(alone[~missing], axis=1), 1, rtol=1e-4)
        assert np.nanmean(np.einsum("nw,nw->n", np.nan_to_num(alone), np.nan_to_num(whole))) > 0.3


def test_saved_and_read_back_it_fuses_alike(fitted: Fitted, shop: Planted, tmp_path: Path) -> None:
    save_catalogue(fitted.fusion, Fused(tmp_path))
    again, projected = load_catalogue(Fused(tmp_path)), projected_of(fitted, shop)
    np.testing.assert_allclose(
        everything(again, projected, shop), everything(fitted.fusion, projected, shop), atol=1e-5
    )
    query = {"text": np.ones((1, 48), np.float32)}
    ours, theirs = load(Fused(tmp_path).weights).transform(query), fitted.fusion.transform(query)
    np.testing.assert_allclose(ours[0], theirs[0], atol=0.35 if again.settings.kind == "gnn" else 0)
    np.testing.assert_allclose(np.linalg.norm(ours[0]), 1, rtol=1e-5)


def test_a_query_needs_no_catalogue(fitted: Fitted, shop: Planted) -> None:
    vectors, shares = fitted.fusion.transform({"image": shop.vectors["image"][:50]})
    assert shares.shape == (50, 1)
    assert np.isnan(vectors[:, 0]).tolist() == np.isnan(shop.vectors["image"][:50, 0]).tolist()


def test_what_is_learned_beats_the_best_modality_by_a_tenth_on_items_never_trained_on(
    fitted: Fitted, shop: Planted
) -> None:
    if fitted.fusion.settings.kind not in LEARNED:
        pytest.skip("a closed form, or weights alone")
    best = max(score(vectors, shop, "co_choice_cold") for vectors in shop.vectors.values())
    assert score(everything(fitted.fusion, projected_of(fitted, shop), shop), shop, "co_choice_cold") > 1.1 * best


@pytest.mark.parametrize("kind", LEARNED)
def test_a_learned_kind_begins_as_the_weighted_sum(kind: str, shop: Planted, tmp_path: Path) -> None:
    linear = fit(settings("linear"), shop.material, tmp_path).fusion
    projected, mask = linear.frontend.project(shop.vectors)
    begun, _ = FUSIONS.find(kind)(linear.frontend, settings(kind)).combine(projected, mask)
    np.testing.assert_allclose(begun, linear.combine(projected, mask)[0], atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_what_neighbours_tell_is_the_same_computed_once_or_for_each(layers: int, shop: Planted, tmp_path: Path) -> None:
    deep = settings("gnn", SHORT, layers=layers)
    made = fit(deep, shop.material, tmp_path)
    codes, projected = np.arange(len(shop.log.items)), projected_of(made, shop)
    for_each = everything(made.fusion, projected, shop)
    assert not list(tmp_path.glob("layer-*")), "vectors of a few items need no pass over the catalogue"
    np.testing.assert_allclose(made.fusion.catalogue(projected, codes)[0], for_each, atol=1e-5)
    assert len(list(tmp_path.glob("layer-*"))) == layers


@pytest.mark.parametrize("layers", [1, 2])
def test_what_is_hidden_of_an_item_changes_no_other_in_its_batch(layers: int, shop: Planted, tmp_path: Path) -> None:
    deep = settings("gnn", SHORT, layers=layers)
    fitted, codes = fit(deep, shop.material, tmp_path), np.arange(40)
    keep = np.ones((40, 3), bool)
    keep[0, :2] = False
    assert fitted.projected is not None
    whole, hidden = (fitted.fusion.vectors(fitted.projected, codes, mask)[0] for mask in (None, keep))
    np.testing.assert_allclose(whole[1:], hidden[1:], atol=1e-5)
    assert np.abs(whole[0] - hidden[0]).max() > 1e-3


@pytest.mark.parametrize("kind", [*LEARNED, "linear-learned"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(kind: str, shop: Planted, tmp_path: Path) -> None:
    short = settings(kind, SHORT)
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        material = replace(shop.material, context=replace(shop.material.context, seed=seed))
        save(fit(short, material, tmp_path / name).fusion, tmp_path / name / "fusion")
        files.append((tmp_path / name / "fusion").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_training_sees_neither_held_out_items_nor_later_choices(shop: Planted, tmp_path: Path) -> None:
    changed = {m: v.copy() for m, v in shop.vectors.items()}
    cold = shop.log.cold
    for vectors in changed.values():
        vectors[cold] = vectors[cold][::-1]
    material = replace(shop.material, shards=write(tmp_path / "changed", changed))
    files = []
    for name, used in (("a", shop.material), ("b", material)):
        (tmp_path / name).mkdir()
        files.append(fit(settings("align", SHORT), used, tmp_path / name).fusion.tensors())
    # Means and axes are those of all items, which the swap leaves as they are but for rounding; training may then
    # differ by what rounding grows into, and by no more.
    for name, tensor in files[0].items():
        np.testing.assert_allclose(tensor, files[1][name], atol=0.02, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_without_items_and_a_catalogue_all_held_out_are_fused(
    kind: str, shop: Planted, tmp_path: Path
) -> None:
    shards = write(tmp_path / "shards", shop.vectors, empty_bucket=True)
    nobody = shop.material.train.subset(np.zeros(len(shop.material.train), bool))
    held_out = np.zeros(len(shop.log.items), bool)
    material = replace(shop.material, shards=shards, train=nobody, visible=held_out)
    fitted = fit(settings(kind, SHORT), material, tmp_path)
    counts = write_items(fitted, material, Fused(tmp_path))
    assert counts == {"rows": len(shop.log.items), "missing_rows": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_modality_of_weight_zero_is_not_used_by_any_kind(kind: str, shop: Planted, tmp_path: Path) -> None:
    without = settings(kind, SHORT, weights={"audio": 0})
    fitted = fit(without, shop.material, tmp_path)
    assert fitted.fusion.frontend.modalities == ["text", "image"]
    alone, _ = fitted.fusion.transform({"audio": shop.vectors["audio"][:5]})
    assert np.isnan(alone).all()


def test_without_a_single_vector_the_step_says_so(tmp_path: Path) -> None:
    found = planted(tmp_path / "shards")
    nothing = {m: np.full_like(v, np.nan) for m, v in found.vectors.items()}
    material = replace(found.material, shards=write(tmp_path / "none", nothing))
    with pytest.raises(StepFailed, match="no item has any modality"):
        fit(settings("align"), material, tmp_path)


@pytest.mark.parametrize("kind", LEARNED)
def test_without_any_choice_in_training_a_kind_still_fuses(kind: str, shop: Planted, tmp_path: Path) -> None:
    nobody = shop.material.train.subset(np.zeros(len(shop.material.train), bool))
    material = replace(shop.material, train=nobody)
    fitted = fit(settings(kind, SHORT), material, tmp_path)
    assert np.isfinite(everything(fitted.fusion, projected_of(fitted, shop), shop)[0]).all()


def test_a_file_that_is_no_fusion_is_refused_in_one_sentence(tmp_path: Path) -> None:
    Fused(tmp_path).weights.write_bytes(b"no weights")
    with pytest.raises(ShardCorrupt, match="not the weights of a fusion"):
        load(Fused(tmp_path).weights)
