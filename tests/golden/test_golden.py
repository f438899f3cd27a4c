"""What a step makes of a tiny night changes only where its version does."""

from __future__ import annotations

import pytest

from tests.golden.cases import CASES, TinyNight
from tests.golden.compare import Golden, fault, read, versions_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyNight:
    return TinyNight(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", CASES)
def test_a_result_changes_only_where_its_version_does(name: str, tiny: TinyNight) -> None:
    case = CASES[name]
    said = fault(name, read(case.step, case.name), Golden(versions_of(case.modules), case.run(tiny)))
    assert said is None, said
