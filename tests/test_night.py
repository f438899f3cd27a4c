from __future__ import annotations

import json

import pytest

from tests.conftest import ANY_QUALITY, AS_OF, QUICK_MODEL, Shop, manifest, medley, options

pytestmark = pytest.mark.slow


def test_the_second_night_encodes_nothing_trains_nothing_and_gives_the_same_digests(night: Shop) -> None:
    night.run("second")
    first, second = manifest(night.workspace, "first"), manifest(night.workspace, "second")
    assert second["artefacts"] == first["artefacts"]
    assert second["published"] == first["published"]
    for name, step in second["steps"].items():
        assert step["encoded_rows"] == 0
        assert step["skipped"] or name in ("ingest", "publish"), name


def test_the_same_night_in_another_workspace_gives_the_same_bytes(
    published: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One process for all steps, or a process per step, as a scheduler runs them."""
    folder = tmp_path_factory.mktemp("verbs") / "workspace"
    quick = options(*QUICK_MODEL, "evaluate.bootstrap_samples=50", *ANY_QUALITY)
    common = ("-c", published.config, "-s", f"workspace={folder}", "--run-id", "verbs", *quick, "--json")
    medley("ingest", "--as-of", AS_OF, *common)
    prepared = json.loads(medley("extract", "--prepare", *common).stdout)
    assert {group["options"][1] for group in prepared["tasks"]} == {"text", "image", "audio"}
    for group in prepared["tasks"]:
        medley("extract", *group["options"], *common)
    for verb in ("fuse", "train", "rerank", "evaluate", "index", "publish"):
        document = json.loads(medley(verb, *common).stdout)
        assert document["run_id"] == "verbs"
    assert manifest(folder, "verbs")["artefacts"] == manifest(published.workspace, "first")["artefacts"]


def test_full_computes_everything_again_to_the_same_bytes(night: Shop) -> None:
    night.run("second", "--full")
    second = manifest(night.workspace, "second")
    assert second["artefacts"] == manifest(night.workspace, "first")["artefacts"]
    assert second["steps"]["extract.text"]["encoded_rows"] > 70
    assert not any(step["skipped"] for step in second["steps"].values())


def test_a_manifest_has_what_the_design_promises(published: Shop) -> None:
    document = manifest(published.workspace, "first")
    assert set(document) == {"run_id", "as_of", "steps", "artefacts", "published"}
    names = {
        "ingest",
        "extract.text",
        "extract.image",
        "extract.audio",
        "fuse",
        "train",
        "rerank",
        "evaluate",
        "index",
        "publish",
    }
    assert set(document["steps"]) == names
    keys = {"digest", "rows", "encoded_rows", "missing_rows", "skipped", "seconds", "peak_rss_bytes"}
    assert all(set(step) == keys for step in document["steps"].values())
    metrics = json.loads((published.workspace / "runs/first/metrics.json").read_text())["test"]
    assert {"all", "cold", "warm", "cold_among_all"} <= set(metrics)
    assert {"popularity", "random", "als", "content", "two_tower"} <= set(metrics["all"])
    assert set(metrics["all"]["als"]["ndcg@10"]) == {"mean", "low", "high", "users"}


def test_status_says_what_is_published_and_which_gates_passed(published: Shop) -> None:
    said = json.loads(medley("status", "-w", published.workspace, "--json").stdout)
    assert said["run_id"] == "first"
    assert all(gate["passed"] for gate in said["gates"])
    assert "ndcg@10" in medley("status", "-w", published.workspace).stdout
