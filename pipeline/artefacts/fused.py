"""What `fuse` leaves in `fused/<digest>/`: one vector for each item and each user, and what made them.

| file | columns, or what it holds |
|---|---|
| items/bucket-*.parquet | item_id · vector FixedSizeList<float32>[width], unit norm, or null · each modality's share |
| users/part-0.parquet | user_id · vector as above, of those who have one |
| users_without_vector.parquet | user_id · reason |
| profiles.parquet | user_id · vector as above, of those whose profile has one; absent where nobody has |
| pooling.json | how a history and a profile become a user's vector, see `pipeline.fusion.user_pooling` |
| fusion.safetensors · graph.safetensors | the fitted fusion, and the graph of a gnn |
| users.safetensors | learned attention over histories, where it was learned |
| curve.json | a learned fusion's epochs |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artefacts.read import among, read_table, readable, schema_of
from pipeline.artefacts.vectors import Ids, matrix, read_vectors, vector_column, width_of, write_groups, write_vectors
from pipeline.artefacts.write import write_table
from pipeline.interactions import Floats, Mask

WEIGHTS, PROFILES = "fusion.safetensors", "profiles.parquet"


@dataclass(frozen=True)
class PoolingSettings:
    """half_life_days: age at which a choice counts half. profile_weight: the profile's share in a user's vector."""

    half_life_days: float
    profile_weight: float


@dataclass(frozen=True)
class Fused:
    """A `fused/<digest>` folder; every reader raises ShardCorrupt where a file is not what it should be."""

    folder: Path

    @property
    def weights(self) -> Path:
        """The fitted fusion, see `pipeline.fusion.saved`."""
        return self.folder / WEIGHTS

    @property
    def attention(self) -> Path:
        """Learned attention over histories, see `pipeline.fusion.user_attention`; absent where it was not learned."""
        return self.folder / "users.safetensors"

    @property
    def without_vector(self) -> Path:
        """Who has no vector, and why, as `write_reasons` writes it."""
        return self.folder / "users_without_vector.parquet"

    @property
    def item_vectors(self) -> Path:
        """The folder that `items` reads."""
        return self.folder / "items"

    def items(self) -> tuple[list[str], Floats]:
        """Every item's id and vector (n, width) float32, NaN without content, in the catalogue's order."""
        return read_vectors(self.item_vectors, "item_id")

    def content(self) -> tuple[Mask, int]:
        """Which items have a vector, (n,) bool in the catalogue's order, and the vectors' width."""
        buckets = (read_table(path, ["vector"])["vector"] for path in sorted(self.item_vectors.glob("*.parquet")))
        present = [np.asarray(bucket.is_valid()) for bucket in buckets]
        return np.concatenate(present), width_of(self.item_vectors)

    def users(self) -> tuple[list[str], Floats]:
        """The ids and vectors (n, width) float32 of the users who have one."""
        return read_vectors(self.folder / "users", "user_id")

    @property
    def profiles_path(self) -> Path:
        """What `profiles` and `profile` read; absent where nobody has one."""
        return self.folder / PROFILES

    def profiles(self) -> tuple[list[str], Floats]:
        """The ids and fused profiles (n, width) float32 of the users whose profile has a vector."""
        path = self.profiles_path
        return read_vectors(path, "user_id") if path.exists() else ([], np.zeros((0, 0), np.float32))

    def profile(self, user: str) -> Floats | None:
        """One user's fused profile (width,) float32, None where there is none."""
        path = self.profiles_path
        if not path.exists():
            return None
        rows = read_table(path, ["vector"], among("user_id", [user]))
        return matrix(rows["vector"])[0] if rows.num_rows else None

    def modalities(self) -> list[str]:
        """The modalities whose shares stand beside an item's vector, in the configuration's order."""
        names = schema_of(self.item_vectors).names
        return [name for name in names if name not in ("item_id", "vector")]

    def pooling(self) -> PoolingSettings:
        """What the users' vectors were pooled by."""
        path = self.folder / "pooling.json"
        with readable(path, "cannot be read"):
            return PoolingSettings(**json.loads(path.read_text("utf-8")))

    def write_bucket(self, name: str, ids: Ids, vectors: Floats, shares: Mapping[str, Floats]) -> int:
        """Writes one bucket of items; vectors: NaN rows without content. Returns how many have none."""
        missing = np.isnan(vectors[:, 0])
        columns = {modality: pa.array(share) for modality, share in shares.items()}
        write_vectors(self.item_vectors / f"{name}.parquet", "item_id", ids, vectors, missing, **columns)
        return int(missing.sum())

    def write_pooling(self, pooling: PoolingSettings) -> None:
        """Writes what users' vectors are pooled by."""
        (self.folder / "pooling.json").write_text(json.dumps(asdict(pooling)), "utf-8")

    def write_users(self, ids: pa.Array, blocks: Iterable[tuple[range, Floats]]) -> Mask:
        """Writes the users who have a vector; returns who has, (n_users,) bool.

        ids: of all users. blocks: some users at a time, in order, and their vectors, zero rows without; at least one.
        """
        known = np.zeros(len(ids), bool)
        write_groups(self.folder / "users" / "part-0.parquet", self._user_groups(ids, blocks, known))
        return known

    def _user_groups(self, ids: pa.Array, blocks: Iterable[tuple[range, Floats]], known: Mask) -> Iterator[pa.Table]:
        for users, vectors in blocks:
            own = known[users.start : users.stop]
            own[:] = vectors.any(axis=1)
            names = ids.slice(users.start, len(users)).filter(pa.array(own))
            yield pa.table({"user_id": names, "vector": vector_column(vectors[own])})

    def write_profiles(self, ids: pa.Array, vectors: Floats) -> None:
        """Writes the fused profiles, if there is one."""
        if len(vectors):
            write_vectors(self.folder / "profiles.parquet", "user_id", ids, vectors)

    def write_curve(self, curve: list[dict[str, float]]) -> None:
        """Writes the epochs of a learned fusion."""
        (self.folder / "curve.json").write_text(json.dumps(curve, indent=1, sort_keys=True), "utf-8")


def write_reasons(path: Path, reasons: Mapping[str, str]) -> dict[str, int]:
    """Writes (user_id, reason) by user_id, and returns each reason's count."""
    users = sorted(reasons)
    values = [reasons[user] for user in users]
    write_table(pa.table({"user_id": pa.array(users, pa.string()), "reason": pa.array(values, pa.string())}), path)
    return {reason: values.count(reason) for reason in sorted(set(values))}
