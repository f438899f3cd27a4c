"""Mutation tests of staging: `python -m tests.mutation_sql`, run by hand; a few minutes.

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


def survives(folder: Path) -> bool:
    """Whether the tests pass with the queries of a folder; in a process of its own, which has imported everything."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        source.sql_folder = lambda: folder  # type: ignore[assignment]
        os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", str(TESTS)]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main() -> None:
    """Mutates every file, and prints survivors and numbers."""
    table = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sql"
        shutil.copytree(source.sql_folder(), folder)
        if not survives(folder):
            sys.exit("the tests fail as it is")
        for path in sorted([*folder.glob("stage/*.sql"), *folder.glob("checks/*.sql")]):
            text, ended = path.read_text("utf-8"), []
            for change, mutant in mutants(text):
                path.write_text(mutant, "utf-8")
                ended.append(survives(folder))
                if ended[-1]:
                    print(f"survived: {path.name} {change}", flush=True)
            path.write_text(text, "utf-8")
            table.append(
                f"{path.relative_to(folder)!s:<52} {len(ended):>4} mutants {len(ended) - sum(ended):>4} killed"
            )
    print(*table, sep="\n")


if __name__ == "__main__":
    main()
