"""The published index and its queries: `from pipeline.serving import Index`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.serving.answer import Answer, Batch, Choice, Hit
    from pipeline.serving.index import Index

__all__ = ["Answer", "Batch", "Choice", "Hit", "Index"]


def __getattr__(name: str) -> Any:
    """Imports the class when it is first asked for: `medley status`, which is in this folder too, starts without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("pipeline.serving.index" if name == "Index" else "pipeline.serving.answer"), name)
