"""Our way in a benchmark: the encoder that a night would choose on this machine, run by the extract step's own loop."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.artefacts.encoded import HASH, Failure
from pipeline.config import Config, Modality
from pipeline.encoders.base import Input, Raw, Text
from pipeline.encoders.inputs import Inputs, Rows
from pipeline.media import MEDIA, media_root
from pipeline.runtime import limit_threads, threads
from pipeline.steps.prepare import SAMPLE_ROWS

if TYPE_CHECKING:
    from pipeline.encoders.engine.network import NetworkEncoder

Functions = dict[str, Callable[[], Any]]
# The choice is made as for a catalogue in which it pays: a small one stays with torch in fp32.
CATALOGUE_ROWS = 1_000_000


def text(texts: list[str], settings: dict[str, Any]) -> tuple[Functions, dict[str, Any]]:
    """Our way with texts: `run` from strings to vectors, `forward` from token ids."""
    rows = _rows([Text({"text": one}) for one in texts], [one.encode() for one in texts])
    extract = {"text": {"template": "{text}", **settings}, "image": None, "audio": None}
    return _ours("text", Config.model_validate({"extract": extract}), rows)


def image(folder: str, files: list[str], settings: dict[str, Any]) -> tuple[Functions, dict[str, Any]]:
    """Our way with pictures: `run` from files to vectors, `forward` from pixels in memory."""
    rows = _rows(files, [(Path(folder) / name).read_bytes() for name in files])
    extract = {"image": settings, "text": None, "audio": None}
    return _ours("image", Config.model_validate({"extract": extract, "source": {"media_root": folder}}), rows)


def _rows(sources: Sequence[Raw], contents: Sequence[bytes]) -> Rows:
    hashes = np.array([hashlib.sha256(content).digest() for content in contents], HASH)
    objects = np.empty(len(sources), object)
    objects[:] = sources
    return Rows(pa.array([str(number) for number in range(len(sources))]), hashes, np.full(len(sources), None), objects)


def _ours(modality: Modality, config: Config, rows: Rows) -> tuple[Functions, dict[str, Any]]:
    limit_threads(threads(config))
    from pipeline.encoders import make
    from pipeline.encoders.engine.network import NetworkEncoder

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    encoder = make(config, modality)
    assert isinstance(encoder, NetworkEncoder)
    root = media_root(config) if modality in MEDIA else None
    ours = _Ours(config, Inputs(modality, config.extract.modalities()[modality], encoder, root), encoder, rows)
    facts = ours.prepare(folder)
    return {"run": ours.run, "before forward": ours.decode, "forward": ours.forward}, facts


@dataclass
class _Ours:
    config: Config
    inputs: Inputs
    encoder: NetworkEncoder
    rows: Rows
    decoded: list[Input] = field(default_factory=list)

    def prepare(self, folder: Path) -> dict[str, Any]:
        """Loads, and chooses as the prepare step does; gives what was chosen, and how long either took."""
        from pipeline.encoders.engine import engine_selection as choose
        from pipeline.encoders.engine import engines

        encoder, begin = self.encoder, time.perf_counter()
        encoder.load()
        loaded = time.perf_counter()
        encoder.prepared = replace(encoder.prepared, folder=folder)
        sample = self._decoded(range(0, len(self.rows), max(1, len(self.rows) // SAMPLE_ROWS))[:SAMPLE_ROWS])
        chosen, trials = choose.choose(encoder, sample, CATALOGUE_ROWS)
        encoder.prepared = chosen
        encoder.use(engines.make(chosen, encoder.network, encoder.collate(encoder.examples())))
        took = {"load_seconds": loaded - begin, "choose_seconds": time.perf_counter() - loaded}
        encoder.embed(sample)
        same = [trial for trial in trials if (trial.engine, trial.precision) == (chosen.engine, chosen.precision)]
        facts = {"engine": chosen.engine, "precision": chosen.precision, "kept": max((t.kept for t in same), default=0)}
        return facts | took | {"cosine_on_sample": chosen.cosine, "trials": choose.describe(trials)}

    def run(self) -> np.ndarray:
        """From files or strings to unit vectors, as a shard holds them."""
        return self.inputs.encode(self.rows, threads(self.config)).vectors

    def decode(self) -> None:
        """Fills the memory that `forward` reads."""
        self.decoded = self.decoded or self._decoded(range(len(self.rows)))

    def forward(self) -> np.ndarray:
        """The network alone."""
        return self.encoder.embed(self.decoded)

    def _decoded(self, places: range) -> list[Input]:
        decoded = [self.inputs.decode(self.rows[place]) for place in places]
        return [parts for parts in decoded if not isinstance(parts, Failure)]
