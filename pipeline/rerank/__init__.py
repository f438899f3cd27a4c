"""The second stage: a network that re-orders the best of the first."""
