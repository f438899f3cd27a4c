from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import Section
from pipeline.config.kinds import Registry
from pipeline.errors import ConfigError

Install = Callable[..., Path]


BUILT_IN = """
from pipeline.config import Section
from colours_base import Colour
class Settings_(Section):
    kind: str = "KIND"
    depth: int = 1
class _Hidden(Colour): pass
class KIND(Colour):
    Settings = Settings_
"""
BASE = "class Colour:\n    Settings: type\n"
OWN = """
from colours_base import Colour
from pipeline.config import Section
class Settings(Section):
    kind: str
    warmth: float = 0.5
class Amber(Colour):
    Settings = Settings
    version = 3
class Bare(Colour): pass
class Stranger:
    Settings = Settings
thing = 3
"""
GROUP = "[tests.colours]\n"
POINTS = GROUP + "".join(f"{n.lower()} = own_colours:{n}\n" for n in ("Amber", "Bare", "Stranger", "thing", "Gone"))


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install) -> Registry:
    """A registry with the kinds red and teal."""
    package = tmp_path / "built_in" / "colours"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("red", "teal"):
        (package / f"{name}.py").write_text(BUILT_IN.replace("KIND", name))
    (package.parent / "colours_base.py").write_text(BASE)
    monkeypatch.syspath_prepend(package.parent)
    importlib.invalidate_caches()
    return Registry("tests.colours", "colours", "colours_base:Colour", default="red")


def test_kinds_are_the_modules_of_a_package_and_the_entry_points_of_others(colours: Registry, install: Install) -> None:
    assert colours.names() == ["red", "teal"]
    install("own_colours", OWN, GROUP + "amber = own_colours:Amber")
    assert colours.names() == ["red", "teal", "amber"]
    assert [colours.find(name).__name__ for name in colours.names()] == ["red", "teal", "Amber"]


def test_only_the_kind_in_use_is_imported(colours: Registry) -> None:
    colours.names()
    assert not {"colours.red", "colours.teal"} & set(sys.modules)
    colours.find("teal")
    assert "colours.red" not in sys.modules


def test_a_part_of_the_configuration_is_read_as_the_settings_of_its_kind(colours: Registry, install: Install) -> None:
    install("own_colours", OWN, POINTS)
    assert isinstance(colours.read({"depth": 2}), Section)
    assert colours.read({}) == colours.find("red").Settings()  # type: ignore[attr-defined]
    assert colours.read({"kind": "amber", "warmth": 1}).warmth == 1  # type: ignore[attr-defined]
    with pytest.raises(ValidationError, match="warmth"):
        colours.read({"kind": "teal", "warmth": 1})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tael", r"^no kind is called 'tael': did you mean teal\? there are red, teal, amber, bare"),
        ("xyz", r"^no kind is called 'xyz': there are red, teal"),
        ("bare", r"^bare of own_colours 1\.0: own_colours:Bare has no Settings"),
        (
            "stranger",
            r"^stranger of own_colours 1\.0: own_colours:Stranger is not .* derived from colours_base\.Colour",
        ),
        ("thing", r"own_colours:thing is not a class derived from colours_base\.Colour"),
        ("gone", r"own_colours:Gone cannot be imported \(AttributeError: "),
    ],
)
def test_what_is_no_kind_is_refused_in_one_sentence(colours: Registry, install: Install, name: str, said: str) -> None:
    install("own_colours", OWN, POINTS)
    with pytest.raises(ConfigError, match=said) as refused:
        colours.find(name)
    assert "\n" not in str(refused.value)


def test_a_package_that_raises_at_import_is_refused_in_one_sentence(colours: Registry, install: Install) -> None:
    install("broken_colours", "raise RuntimeError('needs a licence\\nand more')", GROUP + "broken = broken_colours:X")
    with pytest.raises(ConfigError, match=r"broken_colours:X cannot be imported \(RuntimeError: needs a licence\)$"):
        colours.find("broken")


def test_one_name_in_two_packages_is_refused(colours: Registry, install: Install) -> None:
    install("own_colours", OWN, POINTS)
    install("own_colours", OWN, POINTS, version="2.0", name="rival")
    with pytest.raises(ConfigError, match=r"amber is in the group .* of own_colours 1\.0 and rival 2\.0; uninstall"):
        colours.find("amber")


def test_the_version_of_a_package_and_of_its_class_tells_its_kinds_apart(colours: Registry, install: Install) -> None:
    install("own_colours", OWN, POINTS)
    assert colours.identity("red") == []
    assert colours.identity("amber") == ["own_colours", "1.0", "3"]


def test_the_metadata_of_installed_packages_is_read_once_for_a_group_until_the_path_changes(
    colours: Registry, monkeypatch: pytest.MonkeyPatch, install: Install, tmp_path: Path
) -> None:
    class Counting(importlib.abc.MetaPathFinder):
        asked = 0

        def find_distributions(self, context: object = None) -> tuple[()]:
            Counting.asked += 1
            return ()

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Counting()])
    monkeypatch.syspath_prepend(tmp_path)
    assert [colours.names() for _ in range(3)] == [["red", "teal"]] * 3
    assert Counting.asked == 1
    install("own_colours", OWN, POINTS)
    assert "amber" in colours.names()
