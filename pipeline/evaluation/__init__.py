"""Metrics of lists: arrays in, numbers out."""
