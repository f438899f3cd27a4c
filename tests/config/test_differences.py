"""Settings that differ are named, between two nights and from the defaults of the kinds in use."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import Config
from pipeline.config.differences import defaults_of, differing, name_of


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, [("a", "b")]),
        ({"a": {"model": "x", "b": 1}}, {"a": {"model": "y", "c": 1}}, [("a",)]),
        ({"a": None}, {"a": {"encoder": "x"}}, [("a",)]),
        ({"a": [1, 2]}, {"a": [1, 3], "b": None}, [("a",), ("b",)]),
    ],
)
def test_settings_differ_by_their_paths(before: dict[str, Any], after: dict[str, Any], paths: list[Any]) -> None:
    assert list(differing(before, after)) == paths


def test_a_section_of_another_kind_is_named_by_what_chooses_it() -> None:
    before, after = {"a": {"model": "x", "b": 1}}, {"a": {"model": "y", "c": 1}}
    assert name_of(("a",), before, after) == "a.model"
    assert name_of(("a",), before, {"a": None}) == "a"


def unusual(**sections: Any) -> set[str]:
    config = Config.model_validate(sections)
    document = config.model_dump(mode="json")
    usual = defaults_of(config, Config())
    return {name_of(path, usual, document) for path in differing(usual, document)}


def test_a_setting_is_compared_with_the_default_of_the_kind_in_use() -> None:
    assert unusual() == set()
    assert unusual(train={"model": "svd"}) == set()
    assert unusual(train={"model": "two_tower", "width": 7}) == {"train.width"}
    assert unusual(seed=3, extract={"image": None}) == {"seed", "extract.image"}
    assert unusual(publish={"gate": {"min_ratio": 2}}) == {"publish.gate.min_ratio"}


def test_what_has_no_default_is_named() -> None:
    price = {"encoder": "array", "file": "prices.parquet"}
    assert unusual(extract={"price": price}) == {"extract.price"}
    assert unusual(extract={"image": price}) == {"extract.image.file"}
