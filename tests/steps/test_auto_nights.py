"""Nights of `auto`: the first searches, the next ones fit what it chose, and a night without change fits nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.storage.documents import read_json
from tests.conftest import Shop, edit, options

MEMBERS = "members=[{model: svd}, {model: als}, {model: content}, {model: sequence}]"
SETTINGS = ("model=auto", MEMBERS, "budget_minutes=.05", "new_item_share=.4")
AUTO = options(*(f"train.{own}" for own in SETTINGS))


@pytest.fixture(scope="module")
def nights(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = shop.copy(tmp_path_factory.mktemp("auto") / "shop")
    folder.run("first", *AUTO)
    return folder


def trained(shop: Shop, run: str) -> dict[str, Any]:
    receipt = read_json(shop.workspace / f"runs/{run}/steps/train.json")
    assert receipt is not None
    return receipt


def scores(details: dict[str, Any]) -> dict[str, float]:
    """What each model that was tried had on validation."""
    return {name: tried["known"] for name, tried in details["tries"].items()}


def changed(shop: Shop) -> None:
    """Another text of one record."""
    edit(shop, lambda rows: [{**rows[0], "blurb": rows[0]["blurb"] + " A new word."}, *rows[1:]])


def test_what_was_tried_is_noted_and_shown(nights: Shop) -> None:
    details = trained(nights, "first")["details"]
    # The budget has no room for the dearest.
    assert set(details["tries"]) == {"svd", "als", "content", "chosen"}
    assert sum(details["settings"].values()) == pytest.approx(1)
    assert all(tried["known"] is not None and tried["new"] is not None for tried in details["tries"].values())
    assert details["settled"]["auto"]["settings"] == details["settings"]
    report = (nights.workspace / "runs/first/report.html").read_text("utf-8")
    assert "new items, among all" in report
    assert "learns nothing from the log" not in report


def test_a_night_without_change_fits_nothing_and_a_full_one_makes_the_same(nights: Shop) -> None:
    # What each took is a clock's, and decides nothing.
    receipt = nights.workspace / "runs/first/steps/train.json"
    document = json.loads(receipt.read_text())
    for seconds, name in enumerate(("als", "svd", "content")):
        document["details"]["tries"][name]["seconds"] = seconds / 10
    receipt.write_text(json.dumps(document))
    nights.run("unchanged", *AUTO)
    unchanged, first = trained(nights, "unchanged"), trained(nights, "first")
    assert (unchanged["skipped"], unchanged["digest"]) == (True, first["digest"])
    nights.run("full", *AUTO, "--full")
    full = trained(nights, "full")
    assert (full["skipped"], full["outputs"]) == (False, first["outputs"])


def test_a_next_night_fits_what_was_chosen_until_it_is_chosen_anew(nights: Shop) -> None:
    first = trained(nights, "first")["details"]
    once = [*AUTO, "-s", "evaluate.settled_nights=1"]
    changed(nights)
    nights.run("second", *once)
    second = trained(nights, "second")["details"]
    winners = {name: weight for name, weight in first["settings"].items() if weight}
    assert second["settings"] == winners
    assert set(second["members"]) == set(winners)
    assert scores(second) == scores(first)
    assert second["settled"]["auto"]["nights"] == 1
    nights.run("unchanged-since", *once)
    assert trained(nights, "unchanged-since")["skipped"]
    changed(nights)
    nights.run("third", *once)
    third = trained(nights, "third")["details"]
    assert third["settled"]["auto"]["nights"] == 0
    assert set(third["members"]) == {"svd", "als", "content"}
