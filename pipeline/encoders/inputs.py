"""What an encoder reads of staged items, by content hash; decoded in threads, a window ahead of the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.encoded import HASH, NONE, Failure, Hashes, Reasons, Results, hashes_of, sha256_of_rows
from pipeline.config import Modality
from pipeline.config.shared import EncoderSettings
from pipeline.encoders.base import Encoder, Input, Raw, Text
from pipeline.encoders.kinds.array import ArrayEncoder
from pipeline.errors import MachineError, MediaError, MedleyError, StepHangs
from pipeline.heartbeat import say
from pipeline.interactions import Int64s
from pipeline.media import MEDIA
from pipeline.media.stored import content_of, names_of, read_medium

# What one item may take: the longest clip and the largest picture that limits allow take seconds.
DECODE_SECONDS = 600
T = TypeVar("T")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Row:
    """One item's (or user's) input: its content hash, or the reason why there is none."""

    item_id: str
    content_hash: bytes | None
    problem: str | None
    source: Raw | None


@dataclass(frozen=True)
class Rows:
    """The inputs of n items (or users), as columns: see Row.

    sources: (n,), what each is decoded from, as objects; where vectors are given, the rows of their file, int64.
    """

    ids: pa.Array
    hashes: Hashes
    problems: Reasons
    sources: npt.NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, place: int) -> Row:
        content_hash = self.hashes[place].ljust(np.dtype(HASH).itemsize, b"\0") if self.hashes[place] else None
        return Row(self.ids[place].as_py(), content_hash, self.problems[place], self.sources[place])

    def take(self, places: Int64s) -> Rows:
        """Some rows, in the order of their places."""
        ids = self.ids.take(pa.array(places))
        return Rows(ids, self.hashes[places], self.problems[places], self.sources[places])

    @staticmethod
    def concat(parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, at least one."""
        ids = pa.concat_arrays([part.ids for part in parts])
        hashes, problems = (np.concatenate([getattr(part, name) for part in parts]) for name in ("hashes", "problems"))
        return Rows(ids, hashes, problems, np.concatenate([part.sources for part in parts]))


@dataclass(frozen=True)
class Inputs:
    """One modality of the staged items, as its encoder reads it.

    root: the media folder, where files are read. stored: the workspace's own, of what the source gave as bytes.
    """

    modality: Modality
    settings: EncoderSettings
    encoder: Encoder
    root: Path | None
    stored: Path | None = None

    def rows(self, items: pa.Table) -> Rows:
        """The rows of staged items, in their order.

        text: by the hash of what the template gives. image, audio: by the hash of their bytes, which staging took. A
        modality of the user's own: by its column's value (a text, bytes, or anything else as JSON).
        """
        ids = _array(items["item_id"])
        if self.modality in MEDIA:
            sources, problems = (items[f"{self.modality}{part}"].to_numpy() for part in ("", "_problem"))
            return Rows(ids, hashes_of(items[f"{self.modality}_hash"]), problems, sources)
        if self.modality != "text":
            return _hashed(ids, [_raw_of(value) for value in items[self.modality].to_pylist()], self._bytes_of_value)
        fields = [name for name in items.column_names if not name.endswith(("_hash", "_problem"))]
        columns = ({k: "" if v is None else str(v) for k, v in row.items()} for row in items.select(fields).to_pylist())
        return _hashed(ids, [Text(row) for row in columns], self._bytes_of_text)

    def profiles(self, users: pa.Table) -> Rows:
        """Every user's profile, by user_id, as a query's text."""
        texts = [Text({"text": profile or ""}, query=True) for profile in users["profile"].to_pylist()]
        return _hashed(_array(users["user_id"]), texts, self._bytes_of_text)

    def decode(self, row: Row) -> Input | Failure:
        """What the encoder takes, or why the row cannot be used; any thread may."""
        try:
            return self._decoded(row)
        except MediaError as error:
            return Failure(str(error), isinstance(error, MachineError))
        except MedleyError:
            raise
        except Exception as error:  # one row, whatever an encoder makes of it, never ends a night
            reason = f"cannot be decoded ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
            return Failure(reason, isinstance(error, (ImportError, OSError, MemoryError)))

    def encode(self, rows: Rows, threads: int) -> Results:
        """The vectors of rows that have content, or the reasons why there is none. The encoder's weights are loaded.

        Memory is bounded by two of the encoder's windows.
        """
        window = self.encoder.window
        pool = ThreadPoolExecutor(threads)
        windows = [range(start, min(start + window, len(rows))) for start in range(0, len(rows), window)]
        parts: list[Results] = []

        def submitted(places: Iterable[int]) -> list[Future[Input | Failure]]:
            return [pool.submit(self.decode, rows[place]) for place in places]

        try:
            pending = submitted(windows[0])
            for number, places in enumerate(windows):
                decoded = [
                    self._decoded_in_time(rows, place, future) for place, future in zip(places, pending, strict=True)
                ]
                pending = submitted(windows[number + 1]) if number + 1 < len(windows) else []
                parts.append(_embedded(self.encoder, decoded))
                say(f"{self.modality}, {places.stop} of {len(rows)} rows of a bucket are encoded")
        finally:
            # One that hangs is not waited for.
            pool.shutdown(wait=False, cancel_futures=True)
        columns = ([getattr(part, name) for part in parts] for name in ("vectors", "errors", "transient"))
        return Results(*(np.concatenate(column) for column in columns))

    def _decoded_in_time(self, rows: Rows, place: int, future: Future[Input | Failure]) -> Input | Failure:
        """Raises StepHangs if one that began as those before it ended takes longer than it may."""
        try:
            return future.result(DECODE_SECONDS)
        except TimeoutError:
            raise StepHangs(
                f"encoder {self.encoder.model}: {self.modality} of item {rows[place].item_id} is not decoded after "
                f"{DECODE_SECONDS} s; take it out of the catalogue, or mend the encoder"
            ) from None

    def _decoded(self, row: Row) -> Input:
        if row.source is None:
            raise MediaError(f"no {self.modality}")
        if self.modality not in MEDIA or not isinstance(row.source, str):
            return self.encoder.decode(row.source)
        files, unread = _tried(self._read, names_of(row.source))
        if files and content_of([hashlib.sha256(file).digest() for file in files]) != row.content_hash:
            raise MachineError("file changed after it was ingested")
        inputs, undecoded = _tried(self.encoder.decode, files)
        if not inputs:
            raise (undecoded + unread)[0]
        for _ in undecoded + unread:
            self.encoder.count("files left out of a list")
        return [part for parts in inputs for part in parts]

    def _read(self, name: str) -> bytes:
        try:
            return read_medium(self.root, self.stored, name, getattr(self.settings, "max_bytes", 0))
        except MediaError as error:  # it could be read when it was staged
            raise MachineError(str(error)) from None

    def _bytes_of_text(self, text: Raw | None) -> bytes:
        assert isinstance(text, Text)
        return self.encoder.render(text).encode("utf-8", "surrogatepass")

    def _bytes_of_value(self, raw: Raw | None) -> bytes:
        if raw is None:
            raise MediaError(f"no {self.modality}")
        return raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else bytes(raw)  # type: ignore[arg-type]


@dataclass(frozen=True)
class GivenInputs(Inputs):
    """Given vectors, looked up in their file as columns: no object is made for a row."""

    encoder: ArrayEncoder

    def rows(self, items: pa.Table) -> Rows:
        """The rows of staged items, in their order, each by the hash of its own vector."""
        places, problems = self.encoder.find(self._names(items))
        hashes = np.full(len(places), NONE, HASH)
        there = places >= 0
        for row in np.flatnonzero(~there):
            problems[row] = problems[row] or f"no {self.modality}"
        hashes[there] = sha256_of_rows(self.encoder.read(places[there]))
        return Rows(_array(items["item_id"]), hashes, problems, places)

    def encode(self, rows: Rows, threads: int) -> Results:
        """As Inputs."""
        return Results.of(self.encoder.read(rows.sources.astype(np.int64)))

    def _names(self, items: pa.Table) -> pa.Array:
        """What names each item's vector, null where its column is blank."""
        names = self.encoder.names(items)
        if names is None:
            names = _array(items[self.modality if self.modality in MEDIA else "item_id"])
        return pc.if_else(pc.equal(names, ""), None, names)


def _tried(read: Callable[[T], Read], values: Iterable[T]) -> tuple[list[Read], list[MediaError]]:
    """What could be read of some values, and why others could not."""
    results: list[Read] = []
    faults: list[MediaError] = []
    for value in values:
        try:
            results.append(read(value))
        except MediaError as error:
            faults.append(error)
    return results, faults


def _array(column: pa.ChunkedArray) -> pa.Array:
    """A column of texts in one piece."""
    return pa.concat_arrays(column.cast(pa.string()).chunks) if column.num_chunks else pa.array([], pa.string())


def _raw_of(value: object) -> Raw | None:
    """A column's value as an encoder reads it; None if it is blank."""
    if value is None or value in ("", b""):
        return None
    return value if isinstance(value, (str, bytes)) else json.dumps(value, sort_keys=True, default=str)


def _hashed(ids: pa.Array, sources: Sequence[Raw | None], content: Callable[[Raw | None], bytes]) -> Rows:
    """Rows by the hash of their content; why there is none is what `content` raises as MediaError."""
    hashes, problems = np.full(len(sources), NONE, HASH), np.full(len(sources), None, object)
    objects = np.empty(len(sources), object)
    for place, source in enumerate(sources):
        objects[place] = source
        try:
            hashes[place] = hashlib.sha256(content(source)).digest()
        except MediaError as error:
            problems[place] = str(error)
    return Rows(ids, hashes, problems, objects)


def _embedded(encoder: Encoder, decoded: Sequence[Input | Failure]) -> Results:
    failures = {place: part for place, part in enumerate(decoded) if isinstance(part, Failure)}
    inputs = {place: part for place, part in enumerate(decoded) if not isinstance(part, Failure)}
    embedded = Results.of(encoder.embed(list(inputs.values())) if inputs else np.zeros((0, encoder.width), np.float32))
    rows = len(decoded)
    errors, transient = np.full(rows, None, object), np.zeros(rows, bool)
    vectors = np.zeros((rows, embedded.vectors.shape[1]), np.float16)
    places = np.fromiter(inputs, np.int64, len(inputs))
    vectors[places], errors[places] = embedded.vectors, embedded.errors
    for place, failure in failures.items():
        errors[place], transient[place] = failure.error, failure.transient
    return Results(vectors, errors, transient)
