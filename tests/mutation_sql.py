"""Mutation tests of staging: `python -m tests.mutation_sql`, run by hand; minutes.

Changes one operator, number, text, join or order of `sql/stage` and `sql/checks` at a time, and says which changes
`tests/steps/test_staging.py` does not notice.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from pipeline import source

TESTS = Path(__file__).parent / "steps" / "test_staging.py"
# A pattern, and what each of its matches becomes, one at a time.
CHANGES = (
    (r"(?<![<>])>=", (">", "<")),
    (r"(?<![<>=])<=", ("<", ">")),
    (r"<>", ("=",)),
    (r"(?<![<>=])>(?!=)", (">=", "<")),
    (r"(?<![<>=])<(?![=>])", ("<=", ">")),
    (r"(?<![<>=])=(?!=)", ("<>",)),
    (r"\band\b", ("or",)),
    (r"\bor\b(?! replace)", ("and",)),
    (r"\bis not null\b", ("is null",)),
    (r"\bis null\b", ("is not null",)),
    (r"\bis distinct from\b", ("is not distinct from",)),
    (r"\bnot in\b", ("in",)),
    (r"\bdesc\b", ("asc",)),
    (r"\bnulls last\b", ("nulls first",)),
    (r"\bunion all\b", ("union",)),
    (r"\bdistinct\b(?! from)", ("",)),
    (r"\bleft join\b", ("join",)),
    (r"(?m)^join\b", ("left join",)),
    (r"\bsemi join\b", ("anti join",)),
    (r"\banti join\b", ("semi join",)),
    (r"\bmax\(", ("min(",)),
    (r"\bavg\(", ("max(",)),
    (r"\btry_cast\(", ("cast(",)),
    (r"\btrim\(", ("upper(",)),
    (r"\blower\(", ("upper(",)),
    (r"\bquantile_disc\(", ("quantile_cont(",)),
    (r"md5_number_lower\(", ("md5_number_upper(",)),
    (r"md5_number_upper\(", ("md5_number_lower(",)),
    (r" \+ | - ", (" * ",)),
    (r" - ", (" + ",)),
    (r" / ", (" * ",)),
    (r" \* ", (" + ",)),
    (r" % ", (" / ",)),
    (r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", ("7", "0")),
    (r"(?<!getvariable\()'(?:[^']|'')*'", ("'other'",)),
    (r" filter \([^)]*\)", ("",)),
    (r"partition by ([\w, ]+?)(?= order)", ("partition by 1",)),
    (r"group by \w+", ("group by all",)),
    (r"\norder by [^\n]*", ("",)),
)


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """Every change of a file, as what it was and became, and the file with it. Comments stay as they are."""
    code = re.sub(r"--[^\n]*", lambda comment: " " * len(comment.group()), text)
    for pattern, others in CHANGES:
        for match in re.finditer(pattern, code):
            for other in others:
                if other != match.group():
                    line = code.count("\n", 0, match.start()) + 1
                    yield (
                        f"line {line}: {match.group().strip()} → {other}",
                        f"{code[: match.start()]}{other}{code[match.end() :]}",
                    )


class Mutating:
    """Runs the tests that read a query once for every mutant of it, in place of running each test once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Prints survivors and numbers."""
        read = [(item, reads(item)) for item in session.items]
        for path in queries(self.folder):
            text, ended = path.read_text("utf-8"), []
            items = [item for item, paths in read if path in paths]
            for change, mutant in mutants(text):
                path.write_text(mutant, "utf-8")
                ended.append(survives(items))
                if ended[-1]:
                    print(f"survived: {path.name} {change}", flush=True)
            path.write_text(text, "utf-8")
            name, killed = str(path.relative_to(self.folder)), len(ended) - sum(ended)
            print(f"{name:<48} {len(ended):>4} mutants {killed:>4} killed", flush=True)
        return True


def queries(folder: Path) -> list[Path]:
    """The files that are mutated."""
    return sorted([*folder.glob("stage/*.sql"), *folder.glob("checks/*.sql")])


def reads(item: pytest.Item) -> set[Path]:
    """The files that a test reads. Exits if it fails as it is."""
    files: set[Path] = set()
    read_text = Path.read_text

    def noted(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
        files.add(path)
        return read_text(path, encoding, errors)

    Path.read_text = noted  # type: ignore[method-assign]
    passed = passes(item)
    Path.read_text = read_text  # type: ignore[method-assign]
    if not passed:
        sys.exit(f"{item.nodeid} fails as it is")
    return files


def passes(item: pytest.Item) -> bool:
    """Whether a test does."""
    return all(report.passed for report in runtestprotocol(item, log=False, nextitem=None))


def survives(items: list[pytest.Item]) -> bool:
    """Whether tests pass, in a process of their own."""
    child = os.fork()
    if child == 0:
        os._exit(not all(passes(item) for item in items))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main() -> None:
    """Mutates every file of a copy of the queries."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sql"
        shutil.copytree(source.sql_folder(), folder)
        source.sql_folder = lambda: folder  # type: ignore[assignment]
        pytest.main(["-q", "-s", "-p", "no:cacheprovider", str(TESTS)], plugins=[Mutating(folder)])


if __name__ == "__main__":
    main()
