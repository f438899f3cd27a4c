"""What `fuse` leaves in `fused/<digest>/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds

from pipeline.artefacts.read import read_table
from pipeline.artefacts.vectors import matrix
from pipeline.interactions import Floats


@dataclass(frozen=True)
class Fused:
    """A `fused/<digest>` folder."""

    folder: Path

    def profile(self, user: str) -> Floats | None:
        """One user's fused profile (width,) float32, None where there is none."""
        path = self.folder / "profiles.parquet"
        if not path.exists():
            return None
        rows = read_table(path, ["vector"], ds.field("user_id") == user)
        return matrix(rows["vector"])[0] if rows.num_rows else None
