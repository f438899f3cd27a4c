from __future__ import annotations

from collections.abc import Callable
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


def test_the_readmes_own_kind_fuses_a_catalogue_and_is_read_back(install: Callable[..., Path], tmp_path: Path) -> None:
    install("acme_fusion", EXAMPLE, "[medley.fusions]\nspread = acme_fusion:Spread\n", name="acme-fusion")
    settings = Config(fuse={"kind": "spread", "power": 2, "width": 16, "weights": {"audio": 0}}).fuse  # type: ignore[arg-type]
    shop, fused = planted(tmp_path / "shards"), Fused(tmp_path / "fused")
    fused.folder.mkdir()
    fitted = fit(settings, shop.material, tmp_path)
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
