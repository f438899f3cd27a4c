"""The command line: a verb per step, and `run` for the whole night."""

from pipeline.cli.verbs import app, main

__all__ = ["app", "main"]
