"""The night on several machines' worth of services: PostgreSQL, Redis, two Celery workers, and a shop in PostgreSQL."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from adbc_driver_postgresql import dbapi

from pipeline.sample.shop import write_shop
from tests.conftest import manifest, medley
from tests.dags.services import DAGS, Airflow, failures
from tests.servers import postgresql_programs, postgresql_server, redis_server

pytestmark = pytest.mark.slow

SCHEMA = Path(__file__).parents[2] / "sql/schema/postgres.sql"
# The sample shop's rows as SCHEMA takes them: each id once, and every event of a known item at a known time.
TABLES = {
    "items": """
        select distinct on (record_id) record_id as item_id, coalesce(title, '') as title, blurb as description,
            genre as category
        from read_csv('ROOT/items.csv', all_varchar = true) where record_id is not null order by record_id, title""",
    "media": """
        select item_id, kind, path from (
            unpivot (select record_id as item_id, any_value(sleeve) as image, any_value(clip) as audio
                     from read_csv('ROOT/items.csv', all_varchar = true) group by all)
            on image, audio into name kind value path)
        where item_id in (select item_id from items)""",
    "interactions": """
        select buyer_id as user_id, record_id as item_id, try_cast(quantity as float) as weight,
            try_cast(bought_at as timestamp)::timestamptz as happened_at
        from read_csv('ROOT/purchases.csv', all_varchar = true)
        where record_id in (select item_id from items) and happened_at is not null and weight > 0
            and buyer_id is not null""",
    "impressions": """
        select buyer_id as user_id, record_id as item_id, try_cast(shown_at as timestamp)::timestamptz as shown_at
        from read_csv('ROOT/shown.csv', all_varchar = true)
        where record_id in (select item_id from items) and shown_at is not null and buyer_id is not null""",
    "profiles": """
        select buyer_id as user_id, min(profile) as profile from read_csv('ROOT/buyers.csv', all_varchar = true)
        where buyer_id is not null and profile is not null group by all""",
}
# What sql/sources/postgres reads there, of the same tables in files.
OF_FILES = {
    "items": """
        select item_id, title, description as text, image.path as image, audio.path as audio, category,
            null::double as price, true as in_stock
        from 'ROOT/items.parquet' as items
        left join (from 'ROOT/media.parquet' where kind = 'image') as image using (item_id)
        left join (from 'ROOT/media.parquet' where kind = 'audio') as audio using (item_id)""",
    "interactions": "select user_id, item_id, happened_at as ts, weight from 'ROOT/interactions.parquet'",
    "shown": "select user_id, item_id, shown_at as ts from 'ROOT/impressions.parquet'",
    "users": "from 'ROOT/profiles.parquet'",
}
QUICK: dict[str, Any] = {
    "extract": {"image": {"max_error_rate": 0.2}, "audio": {"max_error_rate": 0.2}},
    "train": {"model": "svd"},
    "evaluate": {"bootstrap_samples": 50},
    # 60 items teach no model much.
    "publish": {"gate": {"min_ratio": 0, "min_published_ratio": 0, "warn_only": ["index_latency", "log_age"]}},
    # Every index is parted into cells.
    "index": {"max_latency_ms": 1e-9},
}


@dataclass(frozen=True)
class Services:
    """Airflow with two workers; by_files: the configuration of the same night, of files."""

    airflow: Airflow
    by_files: Path

    @property
    def workspace(self) -> Path:
        return self.airflow.config.parent / "workspace"


def tables_of(shop: Path) -> dict[str, pa.Table]:
    """The tables of TABLES."""
    with duckdb.connect() as connection:
        connection.execute("load icu; set timezone = 'UTC'")
        tables = {}
        for name, query in TABLES.items():
            connection.execute(f"create table {name} as {query.replace('ROOT', str(shop))}")
            tables[name] = connection.sql(f"from {name}").to_arrow_table()
    return tables


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    programs, redis = postgresql_programs(), shutil.which("redis-server")
    if programs is None or redis is None:
        pytest.skip("no PostgreSQL or no Redis server here: install the packages postgresql and redis-server")
    home = tmp_path_factory.mktemp(f"celery-{secrets.token_hex(4)}")
    write_shop(home / "shop", items=60, users=40, seed=0)
    tables, files = tables_of(home / "shop"), home / "files"
    files.mkdir()
    for name, table in tables.items():
        pq.write_table(table, files / f"{name}.parquet")
    with ExitStack() as servers:
        uri = servers.enter_context(postgresql_server(programs))
        broker = servers.enter_context(redis_server(redis))
        with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("create database airflow")
            for statement in filter(str.strip, SCHEMA.read_text().split(";\n")):
                cursor.execute(statement)
            for name, table in tables.items():
                cursor.adbc_ingest(name, table, mode="append", db_schema_name="shop")
        of_server = {
            "engine": "postgresql",
            "media_root": str(home / "shop"),
            **{name: f"sources/postgres/{name}.sql" for name in OF_FILES},
        }
        of_files = {name: query.replace("ROOT", str(files)) for name, query in OF_FILES.items()}
        queues = {"extract": "gpu", "train": "gpu"}
        nightly = {"schedule": "", "retries": 0, "queues": queues, "task_seconds": 1e-6}
        written = {"medley.yaml": of_server, "files.yaml": {**of_files, "media_root": str(home / "shop")}}
        for name, source in written.items():
            (home / name).write_text(yaml.safe_dump({"source": source, "nightly": nightly, "threads": 1, **QUICK}))
        (home / "dags").mkdir()
        for name in ("nightly.py", "medley_verbs.py"):
            (home / "dags" / name).symlink_to(DAGS / name)
        metadata = uri.removeprefix("postgresql").replace("/postgres", "/airflow")
        own = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2{metadata}",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2{metadata}",
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
            "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "cpu",
            "MEDLEY_SOURCE_URI": uri,
        }
        airflow = Airflow(home, home / "medley.yaml", own, workers=("cpu", "gpu"))
        try:
            airflow.start()
            yield Services(airflow, home / "files.yaml")
        finally:
            airflow.stop()


@pytest.fixture(scope="module")
def night(services: Services) -> dict[str, Any]:
    run = services.airflow.night()
    assert run["state"] == "success", failures(services.airflow, run)
    return run


def test_each_task_runs_on_the_worker_that_serves_its_queue(night: dict[str, Any], services: Services) -> None:
    tasks = services.airflow.tasks(night)
    assert {task["task_id"] for task in tasks if task["queue"] == "gpu"} == {"prepare", "extract", "train"}
    assert {task["state"] for task in tasks} == {"success"}
    cells = [task["rendered_map_index"] for task in tasks if task["task_id"] == "index_cells"]
    assert sorted(cells) == ["content 0-0", "recommend 0-0"]
    for number, queue in enumerate(("cpu", "gpu")):
        log = (services.airflow.home / f"worker-{number}.log").read_text()
        ran = sum(task["queue"] == queue for task in tasks)
        assert log.count("] received") == ran > 0


def test_the_shop_in_postgresql_gives_the_bytes_of_the_same_shop_in_files(
    night: dict[str, Any], services: Services, tmp_path: Path
) -> None:
    (run,) = (services.workspace / "runs").iterdir()
    by_dag = manifest(services.workspace, run.name)
    by_hand = ("-c", services.by_files, "-s", f"workspace={tmp_path}", "--run-id", "by-hand")
    medley("run", "--as-of", by_dag["as_of"], *by_hand)
    by_files = manifest(tmp_path, "by-hand")
    assert by_dag["artefacts"] == by_files["artefacts"]
    assert by_dag["published"] == by_files["published"] is not None
    assert by_dag["steps"]["index.cells"]["rows"] > 0
