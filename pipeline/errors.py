"""The errors Medley raises on purpose. Each message names the thing at fault and the way out, in one sentence."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of a traceback, the innermost: a library may have raised what a kind called it for.
FRAMES = 4


class MedleyError(Exception):
    """Anything that ends a verb with one clear line instead of a traceback."""

    exit_status = 1


class ConfigError(MedleyError):
    """The configuration or the command line is wrong: the message names the path and what is allowed."""

    exit_status = 2


class NotPublished(ConfigError):
    """A user or an item that is asked for is not in the published index, or has no answer there."""


class SourceError(MedleyError):
    """The source could not be read, or what it returned is not a catalogue or a log."""


class CheckFailed(MedleyError):
    """A check of `sql/checks/` returned rows and is set to stop the run."""


class StepFailed(MedleyError):
    """A step cannot finish: its input is missing, or too many of its rows are bad."""


class StepHangs(StepFailed):
    """A thread of a step does not end: nothing but the end of the process ends it."""


class WorkspaceError(MedleyError):
    """The workspace cannot be read or written."""


class ShardCorrupt(MedleyError):
    """A file in the workspace is not what its receipt says."""


class WeightsError(MedleyError):
    """Model weights cannot be found, or their sha256 is not the expected one."""


class MediaError(MedleyError):
    """One text, image or clip cannot be used: it becomes *missing*, and the message is its recorded reason."""


class MachineError(MediaError):
    """As MediaError, for a reason that lies in the machine, not in the item: the next night tries the item again."""


class ExportFailed(MedleyError):
    """A place that an export sends to cannot be written, or does not answer as what is published does."""


class GateRefused(MedleyError):
    """The evaluated model or the index is not good enough to replace what is published."""

    exit_status = 3


@contextmanager
def border(what: str) -> Iterator[None]:
    """Around a call of a kind of anybody's making: what it raises of its own becomes StepFailed, with the place.

    what: the kind, as the sentence names it. Medley's own kinds are held to the same.
    """
    try:
        yield
    except (MedleyError, MemoryError, OSError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        place = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise StepFailed(f"{what} failed ({cause}, at {place})") from error
