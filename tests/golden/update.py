"""`python -m tests.golden.update`: writes the golden results anew, unless one changed and its version did not."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.golden.cases import CASES, TinyNight
from tests.golden.compare import Golden, fault, read, versions_of, write


def main() -> int:
    """Runs every case; returns 1, and writes nothing, if a version is to be raised first."""
    steps: dict[str, dict[str, Golden]] = defaultdict(dict)
    refused = []
    with tempfile.TemporaryDirectory() as folder:
        night = TinyNight(Path(folder))
        for name, case in CASES.items():
            found = Golden(versions_of(case.modules), case.run(night))
            known = read(case.step, case.name)
            said = fault(name, known, found)
            if said and known and known.versions and known.versions == found.versions:
                refused.append(said)
            # What is alike within what machines differ by stays as it is written.
            steps[case.step][case.name] = found if said or known is None else known
            print(name, said or "as it was", file=sys.stderr)
    if refused:
        print(*refused, "Nothing was written.", sep="\n")
        return 1
    for step, cases in steps.items():
        write(step, cases)
    return 0


if __name__ == "__main__":
    sys.exit(main())
