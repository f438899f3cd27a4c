"""The published index and its queries."""
