"""The index that answers now with all that the page shows of it, and the going over to a newer one.

Whoever answers a request takes `Serving.now` once: its answer, cards and filters are of one index, however many nights
are published meanwhile. The next one is opened, verified, warmed and counted while the old one answers.
"""

from __future__ import annotations

import logging
from functools import cached_property
from threading import Event, Thread

from pipeline.artefacts.published import current
from pipeline.errors import WorkspaceError
from pipeline.explain.explain import Explainer
from pipeline.serving.index import Index
from pipeline.web.answers import About, Limits, Space
from pipeline.web.catalogue import Catalogue
from pipeline.web.media_files import MediaFiles
from pipeline.web.questions import MOST_HITS
from pipeline.web.settings import Settings
from pipeline.web.space import space_of

log = logging.getLogger("medley")
SEARCHED = ("text", "image", "audio")


class Served:
    """One index. index: as a `pinned` one, which never changes."""

    def __init__(self, settings: Settings, index: Index) -> None:
        """Raises as `Index.open`."""
        self.index, self._settings = index, settings
        document = current(settings.workspace)
        if document["digest"] != index.digest:
            raise WorkspaceError("another index was published while this one was opened; it is looked for again")
        self.catalogue = Catalogue(index)
        self.media = MediaFiles.of_run(settings.workspace, str(document["run_id"]))
        card, encoders = index.published.card, index.published.encoders
        without = card.get("not_folded_in", [])
        self.about = About(
            index=index.digest,
            run_id=str(document["run_id"]),
            as_of=str(document["as_of"]),
            published_at=str(document["published_at"]),
            model=str(card["model"]),
            items=self.catalogue.item_count,
            users=self.catalogue.user_count,
            search={name: _why_not(name, encoders) for name in SEARCHED},
            history=f"{' and '.join(without)} makes users at night alone" if without else "",
            facets=self.catalogue.facets,
            people=self.catalogue.people,
            limits=Limits(max_upload_bytes=settings.max_upload_bytes, rate=settings.rate, k=MOST_HITS),
        )

    @cached_property
    def explainer(self) -> Explainer:
        """Made when the first score is asked about; one thread at a time. Raises as `explain`."""
        return Explainer(self._settings.workspace, self.index)

    @cached_property
    def space(self) -> Space:
        """The map, computed when it is first looked at; one thread at a time."""
        return space_of(self.index, self.catalogue)


def _why_not(name: str, encoders: dict[str, dict[str, object]]) -> str:
    """Why nothing can be searched by a modality; empty where it can."""
    if name not in encoders:
        return f"the published index was made without {name}"
    settings = encoders[name]["settings"]
    given = isinstance(settings, dict) and settings.get("encoder") == "array"
    return f"the published index has its {name} vectors from a file" if given else ""


class Serving:
    """What answers. now: the newest index that could be opened."""

    def __init__(self, settings: Settings) -> None:
        """Raises WorkspaceError if nothing is published, ShardCorrupt if a file is not what its receipt says."""
        self._settings = settings
        self._index = Index.open(settings.workspace)
        self.now = Served(settings, self._index.pinned())
        self._ended = Event()

    def refresh(self) -> bool:
        """Goes over to what is published now, and says whether that is another run's. Raises as `Index.refresh`."""
        self._index.refresh()
        if current(self._settings.workspace)["run_id"] == self.now.about.run_id:
            return False
        self.now = Served(self._settings, self._index.pinned())
        return True

    def keep_fresh(self) -> None:
        """Looks for a newer index in a thread, until `end`; one that cannot be opened is said in the log."""
        Thread(target=self._look, name="refresh", daemon=True).start()

    def end(self) -> None:
        """Looks no more."""
        self._ended.set()

    def _look(self) -> None:
        said = ""
        while not self._ended.wait(self._settings.refresh_seconds):
            try:
                if self.refresh():
                    log.info("serve      index %s answers now", self.now.about.index)
                said = ""
            except Exception as error:  # whatever it is: the next night may be whole, and must be looked for
                if str(error) != said:
                    log.warning("serve      index %s goes on to answer: %s", self.now.about.index, error)
                said = str(error)
