"""The runs of a workspace, as each began."""

from __future__ import annotations

from pipeline.workspace import Json, Workspace


def runs(workspace: Workspace) -> list[Json]:
    """The `run.json` of every run in the workspace, oldest first."""
    paths = workspace.root.glob("runs/*/run.json")
    documents = [workspace.read_json(str(path.relative_to(workspace.root))) for path in paths]
    return sorted((document for document in documents if document), key=lambda document: str(document["started_at"]))
