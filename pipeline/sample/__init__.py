"""A synthetic record shop with planted tastes and planted dirt: something to run a night on, and to test it by."""

from __future__ import annotations

from pipeline.sample.shop import FEWEST_ITEMS, ShopSummary, write_shop

__all__ = ["FEWEST_ITEMS", "ShopSummary", "write_shop"]
