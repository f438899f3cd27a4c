"""JSON documents, as receipts and manifests are: read in one way, and named where they are broken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import MedleyError, WorkspaceError

log = logging.getLogger("medley")
# A JSON object.
Json = dict[str, Any]
Found = TypeVar("Found")
REMOVE = "remove it and run the night again"


def read_json(path: Path, shape: object = Json, hint: str = REMOVE) -> Json | None:
    """The JSON object in a file, or None where there is none.

    shape: a type, such as a dataclass, whose fields it must have, each of its type; it may have more. hint: the way
    out. Raises WorkspaceError if the file cannot be read, or is cut, empty or of another shape.
    """
    try:
        text = path.read_bytes()
        document: Json = adapter(Json).validate_json(text)
        adapter(shape).validate_json(text, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot be read ({error.strerror}); {hint}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        fault = f"not what Medley writes, {place}: {first['msg']}" if place else f"no JSON object: {first['msg']}"
        raise WorkspaceError(f"{path}: {fault}; {hint}") from None
    return document


def skip_broken(read: Callable[[], Found]) -> Found | None:
    """What is read of an earlier run, or of what can be made again; None where it is broken, which is warned of once.

    read: raises MedleyError where what it reads is not what it should be.
    """
    try:
        return read()
    except MedleyError as error:
        _warn_once(str(error))
        return None


@cache
def _warn_once(fault: str) -> None:
    log.warning("skipped as if it were not there: %s", fault)


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What makes a dataclass, and those in it, of the JSON that it was written as; making one takes a millisecond."""
    return TypeAdapter(kind)
