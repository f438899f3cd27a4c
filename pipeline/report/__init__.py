"""The report of a run: one self-contained HTML page.

gather(run) -> Report       reads the run's files into plain data
render(report) -> str       makes the page
write_report(run, path)     both
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import WorkspaceError
from pipeline.report.files import RunFiles
from pipeline.report.gather import Report, gather
from pipeline.report.render import render

__all__ = ["Report", "RunFiles", "gather", "render", "write_report"]


def write_report(run: RunFiles, path: Path) -> None:
    """Writes the report of `run` to `path`.

    Raises WorkspaceError or ShardCorrupt if a file of the run is missing or unreadable, or `path` cannot be written.
    """
    page = render(gather(run))
    try:
        path.write_text(page, "utf-8")
    except OSError as error:
        raise WorkspaceError(f"{path}: {error.strerror}; the report could not be written") from None
