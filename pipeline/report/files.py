"""Where one finished run lies, for the report to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import Config
from pipeline.config.sections import Gate
from pipeline.evaluation.gate import Verdict


@dataclass(frozen=True)
class RunFiles:
    """One finished run, and what its configuration and its gate say.

    `staged`, `fused`, `model` and `index` are the run's artefact folders (`index/<digest>` and so on);
    `gate` is what the gate said, `forced` why the run is published though it refused it, else empty; `steps` are the
    night's, in order; `media_root` is the folder that image paths are relative to, None for a page without pictures.
    """

    workspace: Path
    run_id: str
    as_of: str
    media_root: Path | None
    staged: Path
    fused: Path
    model: Path
    index: Path
    gate: tuple[Verdict, ...]
    published: bool
    config: Config = field(default_factory=Config)
    steps: tuple[str, ...] = ()
    forced: str = ""

    @property
    def state(self) -> str:
        """`published`, `forced` or `refused`."""
        return "forced" if self.forced else "published" if self.published else "refused"

    @property
    def rules(self) -> Gate:
        """The gate's rules."""
        return self.config.publish.gate

    @property
    def folder(self) -> Path:
        """The run's own folder, with its receipts and metrics."""
        return self.workspace / "runs" / self.run_id
