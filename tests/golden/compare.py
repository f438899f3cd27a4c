"""Golden results as files: read, compared within a unit of the last place kept, and written again.

`results/STEP.json` holds the version of the step's code and, by case, what came out of it, rounded. A step's artefacts
are named by its version and its inputs, not by its code: where a result changes and the version does not, a workspace
keeps what the old code made, and nobody notices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from pydantic import JsonValue

FOLDER = Path(__file__).parent / "results"
# Decimals that are kept, and by how much two machines may differ.
PLACES = 3
TOLERANCE = 1.5 * 10**-PLACES


@dataclass(frozen=True)
class Golden:
    """What a case gave when it was written down, and the versions, by module, of the code that gave it."""

    versions: dict[str, int]
    result: JsonValue


def versions_of(modules: tuple[str, ...]) -> dict[str, int]:
    """The versions that modules below `pipeline` have: their `VERSION`, or `version` of the kind that they are."""
    return {name: version for name in modules if (version := _version(import_module(f"pipeline.{name}"))) is not None}


def _version(module: ModuleType) -> int | None:
    kinds = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    versions = [getattr(module, "VERSION", None), *(getattr(kind, "version", None) for kind in kinds)]
    return next((version for version in versions if isinstance(version, int)), None)


def read(step: str, case: str) -> Golden | None:
    """What is written down of a case, if anything is."""
    path = FOLDER / f"{step}.json"
    cases = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return Golden(**cases[case]) if case in cases else None


def write(step: str, cases: dict[str, Golden]) -> None:
    """Writes all of a step's cases."""
    FOLDER.mkdir(exist_ok=True)
    plain = {case: golden.__dict__ for case, golden in sorted(cases.items())}
    lines = (f"{json.dumps(case)}: {json.dumps(golden, sort_keys=True)}" for case, golden in plain.items())
    (FOLDER / f"{step}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def fault(name: str, known: Golden | None, found: Golden) -> str | None:
    """What is wrong with a case's result, and what to do about it; None if it is as it was."""
    if known is None:
        return f"{name} has no golden result: run `python -m tests.golden.update`"
    change = difference(known.result, found.result)
    if known.versions != found.versions:
        return f"{name} is of another version now, {found.versions}: run `python -m tests.golden.update`"
    if change is None:
        return None
    if not found.versions:
        return f"{name} changed: {change}. Its artefacts are named by content: run `python -m tests.golden.update`"
    places = " or ".join(f"pipeline/{module.replace('.', '/')}.py ({now})" for module, now in found.versions.items())
    return f"{name} changed and no version did: {change}. Raise that of {places}; then `python -m tests.golden.update`"


def difference(known: JsonValue, found: JsonValue, path: str = "result") -> str | None:
    """Where two results differ first, by more than TOLERANCE; None if nowhere."""
    if isinstance(known, dict) and isinstance(found, dict) and known.keys() == found.keys():
        pairs = [(f"{path}.{key}", known[key], found[key]) for key in known]
    elif isinstance(known, list) and isinstance(found, list) and len(known) == len(found):
        pairs = [(f"{path}[{at}]", *both) for at, both in enumerate(zip(known, found, strict=True))]
    else:
        return None if _alike(known, found) else f"{path} was {_short(known)} and is {_short(found)}"
    return next((change for where, a, b in pairs if (change := difference(a, b, where))), None)


def _alike(known: JsonValue, found: JsonValue) -> bool:
    if isinstance(known, float) and isinstance(found, float):
        return abs(known - found) <= TOLERANCE
    return type(known) is type(found) and known == found


def _short(value: JsonValue) -> str:
    return json.dumps(value)[:80]
