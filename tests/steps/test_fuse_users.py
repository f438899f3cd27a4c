from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.vectors import read_vectors
from pipeline.cli import app
from pipeline.interactions import Floats
from pipeline.steps.fuse_users import NO_INTERACTION, NO_ITEM_VECTOR
from tests.conftest import AS_OF, Shop
from tests.conftest import edit as rewrite

TEXT = ("-s", "extract.image=null", "-s", "extract.audio=null", "-s", "extract.text={encoder: tfidf, width: 24}")
CONTENT = ("-s", "train.model=content")
ATTENTION = ("-s", "fuse.users.pooling=attention")
NO_PROFILES = ("-s", "source.users=")


@pytest.fixture
def fresh(shop: Shop, tmp_path: Path) -> Shop:
    """A copy of the shop that no night has run on."""
    return shop.copy(tmp_path / "shop")


def steps(shop: Shop, run_id: str, *more: str, until: str = "fuse") -> None:
    """A run's steps by the command line, in this process."""
    for verb in ("ingest", "extract", "fuse", "train"):
        arguments = ["-c", str(shop.config), "--run-id", run_id, "-q", *TEXT, *more]
        done = CliRunner().invoke(app, [verb, *arguments, *(("--as-of", AS_OF) if verb == "ingest" else ())])
        assert done.exit_code == 0, f"{done.output}\n{done.exception}"
        if verb == until:
            return


def receipt(shop: Shop, run_id: str, name: str) -> dict[str, Any]:
    return json.loads((shop.workspace / "runs" / run_id / "steps" / f"{name}.json").read_text())


def fused(shop: Shop, run_id: str) -> Path:
    return shop.workspace / receipt(shop, run_id, "fuse")["path"]


def users(shop: Shop, run_id: str) -> dict[str, Floats]:
    return dict(zip(*read_vectors(fused(shop, run_id) / "users", "user_id"), strict=True))


def edit(shop: Shop, change: Callable[[dict[str, str]], dict[str, str]], name: str = "buyers.csv") -> None:
    """Rewrites every row of one of the shop's files."""
    rewrite(shop, lambda rows: [change(row) for row in rows], name)


def profiles_shard(shop: Shop, run_id: str) -> Any:
    return pq.read_table(shop.workspace / receipt(shop, run_id, "extract.text.profiles")["path"])


def test_everyone_without_a_vector_is_listed_with_the_reason(fresh: Shop) -> None:
    blank = "rec-0001"
    edit(fresh, lambda row: row | ({"blurb": "", "title": ""} if row["record_id"] == blank else {}), "items.csv")
    edit(fresh, lambda row: row | {"record_id": blank} if row["buyer_id"] == "buyer-0005" else row, "purchases.csv")
    newcomers = fresh.summary.planted["profile_without_purchase"]
    silent, *others = newcomers
    edit(fresh, lambda row: row | {"profile": " "} if row["buyer_id"] in (silent, "buyer-0005") else row)
    steps(fresh, "first", "-s", "extract.text.max_error_rate=1")
    listed = pq.read_table(fused(fresh, "first") / "users_without_vector.parquet").to_pylist()
    expected = {silent: NO_INTERACTION, "buyer-0005": NO_ITEM_VECTOR}
    assert listed == [{"user_id": user, "reason": reason} for user, reason in sorted(expected.items())]
    details = receipt(fresh, "first", "fuse")["details"]
    assert details["users_without_vector"] == {NO_INTERACTION: 1, NO_ITEM_VECTOR: 1}
    assert not expected.keys() & users(fresh, "first").keys()
    assert details["users"] == len(users(fresh, "first")) == fresh.summary.users - 1 + len(others)


def test_a_user_with_a_profile_and_no_history_is_their_profile_alone(fresh: Shop) -> None:
    steps(fresh, "first")
    said = dict(zip(*Fused(fused(fresh, "first")).profiles(), strict=True))
    vectors = users(fresh, "first")
    for user in fresh.summary.planted["profile_without_purchase"]:
        np.testing.assert_array_equal(vectors[user], said[user])


def test_a_profile_moves_its_user_towards_what_it_says_and_nobody_else(fresh: Shop) -> None:
    steps(fresh, "with")
    steps(fresh, "without", "-s", "fuse.users.profile_weight=0")
    names, vectors = read_vectors(fused(fresh, "with") / "profiles.parquet", "user_id")
    said = dict(zip(names, vectors, strict=True))
    moved, still = users(fresh, "with"), users(fresh, "without")
    assert moved.keys() - still.keys() == set(fresh.summary.planted["profile_without_purchase"])
    for user, vector in moved.items():
        if user not in still:
            continue
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        if user in said:
            assert vector @ said[user] > still[user] @ said[user] or vector @ still[user] > 0.9999
        else:
            np.testing.assert_array_equal(vector, still[user])
    empty = set(fresh.summary.planted["profile_empty"])
    assert empty
    assert not empty & said.keys()
    assert receipt(fresh, "with", "fuse")["details"]["profiles"] == len(said)


def test_an_unchanged_profile_is_encoded_once_and_the_next_night_encodes_what_is_new(fresh: Shop) -> None:
    edit(fresh, lambda row: row | {"profile": "Slow jazz."} if row["buyer_id"] in ("buyer-0001", "buyer-0002") else row)
    steps(fresh, "first")
    contents = {value for value in profiles_shard(fresh, "first")["content_hash"].to_pylist() if value}
    assert receipt(fresh, "first", "extract.text.profiles")["encoded_rows"] == len(contents) + 1
    steps(fresh, "second")
    assert receipt(fresh, "second", "extract.text.profiles")["skipped"]
    assert receipt(fresh, "second", "fuse")["skipped"]
    edit(fresh, lambda row: row | {"profile": "Loud samba."} if row["buyer_id"] == "buyer-0002" else row)
    steps(fresh, "third")
    assert receipt(fresh, "third", "extract.text.profiles")["encoded_rows"] == 1
    assert not receipt(fresh, "third", "fuse")["skipped"]
    before, after = users(fresh, "first"), users(fresh, "third")
    assert [user for user in before if not np.array_equal(before[user], after[user])] == ["buyer-0002"]


def test_profiles_belong_to_prepare_so_that_buckets_side_by_side_find_them_done(fresh: Shop) -> None:
    steps(fresh, "one", until="ingest")
    arguments = ["-c", str(fresh.config), "--run-id", "one", "-q", *TEXT, "--modality", "text"]
    for more in (["--prepare"], ["--bucket", "0"]):
        done = CliRunner().invoke(app, ["extract", *arguments, *more])
        assert done.exit_code == 0, done.output
        written = receipt(fresh, "one", "extract.text.profiles")
        assert (written["encoded_rows"] > 40, written["rows"]) == (True, 0)
    assert profiles_shard(fresh, "one").column_names == ["user_id", "content_hash", "vector", "error"]


def test_without_a_text_encoder_profiles_are_left_out_with_one_warning(
    fresh: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    off = ("-s", "extract.text=null", "-s", "extract.audio={encoder: mfcc}", "-s", "extract.audio.max_error_rate=1")
    with caplog.at_level(logging.WARNING, logger="medley"):
        steps(fresh, "off", *off)
    assert [record.message for record in caplog.records] == [
        "source.users gives profiles, but extract.text has no encoder: profiles are left out"
    ]
    assert not (fused(fresh, "off") / "profiles.parquet").exists()
    assert receipt(fresh, "off", "fuse")["details"]["profiles"] == 0


@pytest.mark.parametrize(
    "query",
    ["select 'buyer-0001' as user_id, ' ' as profile", "from (select '' as user_id, '' as profile) where false"],
)
def test_a_night_in_which_nobody_says_anything_is_a_night_without_profiles(fresh: Shop, query: str) -> None:
    steps(fresh, "silent", "-s", f"source.users={query}")
    assert receipt(fresh, "silent", "fuse")["details"]["profiles"] == 0
    assert not (fused(fresh, "silent") / "profiles.parquet").exists()
    steps(fresh, "plain", *NO_PROFILES)
    for user, vector in users(fresh, "plain").items():
        np.testing.assert_array_equal(users(fresh, "silent")[user], vector)


def test_a_source_without_users_leaves_no_trace_of_them(fresh: Shop) -> None:
    steps(fresh, "plain", *NO_PROFILES)
    assert not list(fresh.workspace.glob("staged/*/users.parquet"))
    assert not (fresh.workspace / "profiles").exists()
    assert pq.read_table(fused(fresh, "plain") / "users_without_vector.parquet").num_rows == 0


@pytest.mark.parametrize("pooling", [(), ATTENTION])
def test_the_content_recommender_gives_the_vectors_of_the_fused_folder(fresh: Shop, pooling: tuple[str, ...]) -> None:
    steps(fresh, "first", *CONTENT, *pooling, until="train")
    assert (fused(fresh, "first") / "users.safetensors").exists() == bool(pooling)
    model = fresh.workspace / receipt(fresh, "first", "train")["path"]
    names, vectors = read_vectors(model / "published" / "user_vectors.parquet", "user_id")
    found = users(fresh, "first")
    for user, vector in zip(names, vectors, strict=True):
        np.testing.assert_array_equal(vector, found.get(user, np.zeros_like(vector)))


def test_what_the_judged_model_knows_of_a_user_ends_before_the_test(fresh: Shop) -> None:
    steps(fresh, "first", *CONTENT, *ATTENTION, until="train")
    staged = pq.read_table(fresh.workspace / receipt(fresh, "first", "ingest")["path"] / "interactions.parquet")
    late = {(row["user_id"], row["item_id"]) for row in staged.to_pylist() if row["part"] == "test"}
    other = sorted({row["item_id"] for row in staged.to_pylist() if row["part"] == "test"})

    def change(row: dict[str, str]) -> dict[str, str]:
        return row | {"record_id": other[0]} if (row["buyer_id"], row["record_id"]) in late else row

    edit(fresh, change, "purchases.csv")
    steps(fresh, "second", *CONTENT, *ATTENTION, until="train")
    attention = [(fused(fresh, run) / "users.safetensors").read_bytes() for run in ("first", "second")]
    assert attention[0] == attention[1]
    models = [fresh.workspace / receipt(fresh, run, "train")["path"] for run in ("first", "second")]
    judged, published = (
        [(model / fitted / "user_vectors.parquet").read_bytes() for model in models]
        for fitted in ("evaluated", "published")
    )
    assert judged[0] == judged[1]
    assert published[0] != published[1]


def test_what_the_kind_in_use_does_not_read_changes_no_digest(fresh: Shop) -> None:
    steps(fresh, "first", *NO_PROFILES)
    unread = ("-s", "fuse.users.profile_weight=0.5", "-s", "fuse.weights={audio: 3}", "-s", "evaluate.window_choices=3")
    steps(fresh, "second", *NO_PROFILES, *unread)
    assert receipt(fresh, "second", "fuse")["skipped"]
    steps(fresh, "third", *NO_PROFILES, "-s", "fuse.weights.text=3")
    assert not receipt(fresh, "third", "fuse")["skipped"]


def test_a_weight_of_what_is_no_modality_is_refused_by_name(fresh: Shop) -> None:
    steps(fresh, "first", *NO_PROFILES, until="extract")
    arguments = ["-c", str(fresh.config), "--run-id", "first", "-q", *TEXT, *NO_PROFILES, "-s", "fuse.weights.txt=2"]
    done = CliRunner().invoke(app, ["fuse", *arguments])
    assert "fuse.weights.txt: no modality is called so; there are text" in str(done.exception)
