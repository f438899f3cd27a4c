"""Fusion: vectors of any subset of an item's modalities become one vector."""
