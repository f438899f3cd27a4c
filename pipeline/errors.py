"""The errors Medley raises on purpose. Each message names the thing at fault and the way out, in one sentence."""

from __future__ import annotations


class MedleyError(Exception):
    """Anything that ends a verb with one clear line instead of a traceback."""

    exit_status = 1


class ConfigError(MedleyError):
    """The configuration or the command line is wrong: the message names the path and what is allowed."""

    exit_status = 2


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
