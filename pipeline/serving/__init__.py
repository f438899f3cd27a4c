"""The published index, and those who ask it."""
