"""The command line: a verb per step, and `run` for the whole night."""

import os

# Pydantic looks for plugins in the metadata of every installed package, which takes a tenth of a second.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from pipeline.cli.verbs import app, main

__all__ = ["app", "main"]
