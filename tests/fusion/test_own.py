from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts.fused import Fused
from pipeline.config import FUSIONS, Config
from pipeline.errors import ConfigError
from pipeline.fusion.fit import fit
from pipeline.fusion.saved import load_catalogue, save_catalogue
from pipeline.steps.fuse import write_items
from tests.documents import block
from tests.fusion.planted import planted

EXAMPLE = block("own fusion")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The README's example as an installed package."""
    metadata = tmp_path / "acme_fusion-1.0.dist-info"
    metadata.mkdir()
    (tmp_path / "acme_fusion.py").write_text(EXAMPLE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-fusion\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[medley.fusions]\nspread = acme_fusion:Spread\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("acme_fusion", None)


def test_the_readmes_own_kind_fuses_a_catalogue_and_is_read_back(installed: Path) -> None:
    settings = Config(fuse={"kind": "spread", "power": 2, "width": 16, "weights": {"audio": 0}}).fuse  # type: ignore[arg-type]
    shop, fused = planted(installed / "shards"), Fused(installed / "fused")
    fused.folder.mkdir()
    fitted = fit(settings, shop.material, installed)
    counts = write_items(fitted, shop.material, fused)
    assert counts == {"rows": len(shop.log.items), "missing_rows": int(np.isnan(fused.items()[1][:, 0]).sum())}
    save_catalogue(fitted.fusion, fused)
    ids, vectors = fused.items()
    again, shares = load_catalogue(fused).transform(shop.vectors)
    np.testing.assert_allclose(vectors, again, atol=1e-3)
    assert ids == shop.log.items
    assert np.abs(shares[:, 2]).max() == 0
    assert FUSIONS.identity("spread") == ["acme-fusion", "1.0", ""]


def test_the_example_needs_about_thirty_lines() -> None:
    assert sum(1 for line in EXAMPLE.splitlines() if line.strip()) <= 30


def test_a_kind_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="there are align, attention, concat, dnn, gnn, linear"):
        FUSIONS.find("spread")
