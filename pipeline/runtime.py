"""What every process of a step begins with: its log, and how many threads it may use, its processes together.

The same number of threads gives the same bytes.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.printable import PrintableFormatter

if TYPE_CHECKING:
    from pipeline.config import Config

# Loggers of what traces, exports and quantises networks.
TALKATIVE = ("nncf", "openvino", "transformers", "torch.onnx", "torch.utils.cpp_extension")
# torchrun's name for how many processes of one fit there are on this machine.
LOCAL_PROCESSES = "LOCAL_WORLD_SIZE"
STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"


def begin_log() -> None:
    """The log of a process: warnings, each line `printable`, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def threads(config: Config) -> int:
    """The configured number of compute threads, or the number of cores this process may use; its part of them, if it
    is one of several that fit a model together.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max((config.threads or cores) // int(os.environ.get(LOCAL_PROCESSES, 1)), 1)


def memory_bytes() -> int:
    """The memory of this machine, or of the container where that has less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (Path(name) for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"))
    written = [path.read_text().strip() for path in limits if path.is_file()]
    return min([physical, *(int(limit) for limit in written if limit.isdigit())])


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Around a step: what it has freed is returned to the system, which allocators keep and the next would come on top.

    Cycles are looked for among what was made since the first step began, and not among what was imported before.
    """
    _freeze()
    try:
        yield
    finally:
        give_back()


@cache
def _freeze() -> None:
    gc.freeze()
    # Or else libraries say at the end that objects of theirs have leaked.
    atexit.register(gc.unfreeze)


def give_back() -> None:
    """Returns to the system what is not used any more, within a step too: once a catalogue's tables are let go.

    What is held only by what it holds itself is looked for as well.
    """
    gc.collect()
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what tracing, exporting and quantising a network print out of the night's log."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def limit_threads(count: int) -> None:
    """Bounds every library's thread pool before loading: two busy pools on two cores run slower than one."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(count)
    # A thread that spins at a barrier keeps the thread it waits for off a shared core: one busy neighbour made a fit
    # five times slower, and only 2.8 times once threads sleep instead.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class _NoPandas(MetaPathFinder):
    """Refuses to import pandas, where it is not imported yet."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ImportError(fullname)
        return None


@cache
def arrow_without_pandas() -> None:
    """Spares this process the import of pandas, 0.3 s, that pyarrow does before it makes its first array.

    It looks for pandas that one time, and again only for what needs it, such as `to_pandas`, which works as ever.
    """
    import pyarrow as pa

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
