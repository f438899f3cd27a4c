"""Kinds by name: the one registry of recommenders, fusions and encoders, Medley's own and those of installed packages.

A kind is a class in a module of its name below `package`, or behind an entry point of its name in `group`. It has
`Settings`, the section of the configuration that is chosen by it. Nothing here imports more than the kind in use.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from pydantic_core import PydanticCustomError

from pipeline.config.base import Section, refusal
from pipeline.errors import ConfigError


@cache
def modules_of(package: str) -> tuple[str, ...]:
    """The names of a package's modules, but for those that begin with an underscore; none is imported."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return tuple(module.name for module in iter_modules(places or []) if not module.name.startswith("_"))


@cache
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The entry points of a group in all packages on a path; it takes the metadata of every one of them."""
    return entry_points(group=group)


class Lazy:
    """A module that is imported when something of it is first used, so that reading a configuration stays cheap."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)


@dataclass(frozen=True)
class Registry:
    """The kinds of one thing.

    group: of entry points, for kinds of the user's own. package: whose modules are Medley's kinds. base: "module:Class"
    that every kind is derived from, imported only to check a kind; empty for none. key: of the configuration, whose
    value is a kind's name. default: the kind of a section that does not say. common: a further package, whose kinds
    several registries have.
    """

    group: str
    package: str
    base: str = ""
    key: str = "kind"
    default: str = ""
    common: str = ""

    def names(self, installed: bool = True) -> list[str]:
        """Every kind's name: Medley's own, then those of installed packages, each in the order of the alphabet."""
        own = self._modules()
        points = _installed(self.group, tuple(sys.path)) if installed else ()
        return [*own, *sorted({point.name for point in points} - set(own))]

    def find(self, name: str) -> type:
        """The class of a kind.

        Raises ConfigError if there is none, several packages have one, it cannot be imported, or is not derived from
        `base` or has no `Settings`.
        """
        if package := self._modules().get(name):
            return self._of_module(import_module(f"{package}.{name}"))
        return self._of_package(self._entry_point(name))

    def identity(self, name: str) -> list[str]:
        """What tells a kind of an installed package from its other versions: part of a digest. Empty for Medley's.

        The distribution's name and version, and the class's `version` where it has one.
        """
        if name in self._modules():
            return []
        return [*_package(self._entry_point(name)), str(getattr(self.find(name), "version", ""))]

    def read(self, value: object) -> object:
        """The settings of the kind that a part of the configuration names, for a pydantic BeforeValidator."""
        if isinstance(value, Section):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("kind", "{said}", {"said": f"give `{self.key}` and its settings"})
        name = str(value.get(self.key, self.default))
        try:
            settings: type[Section] = self.find(name).Settings  # type: ignore[attr-defined]
        except ConfigError as error:
            raise refusal("kind", self.key, name, str(error)) from None
        return settings.model_validate({**value, self.key: name})

    def _modules(self) -> dict[str, str]:
        """Medley's kinds, and the package that each is a module of."""
        named: dict[str, str] = {}
        for package in filter(None, (self.common, self.package)):
            named |= dict.fromkeys(modules_of(package), package)
        return dict(sorted(named.items()))

    def _of_module(self, module: ModuleType) -> type:
        classes = [
            value
            for name, value in vars(module).items()
            if inspect.isclass(value)
            and value.__module__ == module.__name__
            and "Settings" in vars(value)
            and not name.startswith("_")
        ]
        if len(classes) != 1:
            raise ConfigError(f"{module.__name__}: it must have one class with `Settings`, and has {len(classes)}")
        return classes[0]

    def _entry_point(self, name: str) -> EntryPoint:
        found = _installed(self.group, tuple(sys.path)).select(name=name)
        points = {(_package(point), point.value): point for point in found}
        if not points:
            raise ConfigError(self._unknown(name))
        if len(points) > 1:
            packages = " and ".join(sorted(f"{package} {version}" for (package, version), _ in points))
            raise ConfigError(f"{name} is in the group {self.group} of {packages}; uninstall all but one")
        return next(iter(points.values()))

    def _of_package(self, point: EntryPoint) -> type:
        described = f"{point.name} of {' '.join(_package(point)).strip()}: {point.value}"
        try:
            kind = point.load()
        except Exception as error:  # importing runs a stranger's code, which raises what it likes
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise ConfigError(f"{described} cannot be imported ({type(error).__name__}: {reason})") from None
        module, _, name = self.base.partition(":")
        if not isinstance(kind, type) or (self.base and not issubclass(kind, getattr(import_module(module), name))):
            raise ConfigError(f"{described} is not a class derived from {module}.{name}")
        settings = getattr(kind, "Settings", None)
        if not isinstance(settings, type) or not issubclass(settings, Section):
            raise ConfigError(f"{described} has no Settings, a class derived from pipeline.config.Section")
        return kind

    def _unknown(self, name: str) -> str:
        names = self.names()
        nearest = get_close_matches(name, names, 1)
        meant = f"did you mean {nearest[0]}? " if nearest else ""
        return f"no {self.key} is called {name!r}: {meant}there are {', '.join(names)}"


def _package(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("", "")
