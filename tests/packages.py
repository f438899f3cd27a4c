"""A package of a user's own, as an installation leaves it."""

from __future__ import annotations

import importlib
from pathlib import Path

from pipeline.config import kinds


def write_package(site: Path, module: str, code: str, points: str, version: str = "1.0", name: str = "") -> Path:
    """Writes a distribution of one module below `site`, a folder of the path; points: its entry_points.txt."""
    metadata = site / f"{name or module}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(code)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name or module}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(points)
    return site


def upgrade(site: Path) -> None:
    """Makes version 1.1 of a site's distribution of version 1.0; its code stays."""
    (metadata,) = site.glob("*-1.0.dist-info")
    (metadata / "METADATA").write_text((metadata / "METADATA").read_text().replace("1.0", "1.1"))
    metadata.rename(site / metadata.name.replace("-1.0.", "-1.1."))
    importlib.invalidate_caches()
    kinds._installed.cache_clear()  # it is read once a process, in which nobody upgrades anything
