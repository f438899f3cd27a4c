"""Starts the processes that fit a model together, by torch's elastic launcher, which is what `torchrun` runs.

A process that fails ends the others, and its error is raised here as it would be without them. Nothing is restarted:
the next run of the step resumes from the checkpoint.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec

from pipeline import errors
from pipeline.errors import MedleyError, StepFailed
from pipeline.runtime import LOCAL_PROCESSES, begin_log, limit_threads

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

P = ParamSpec("P")
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
log = logging.getLogger("medley")


def launch(processes: int, threads: int, work: Callable[P, object], *arguments: P.args, **_: P.kwargs) -> None:
    """Calls `work` in `processes` processes, which share so many threads; returns when all have ended well.

    Raises the error of the first that failed where Medley has raised it on purpose, and StepFailed for any other.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    failure: MedleyError | None = None
    with tempfile.TemporaryDirectory(prefix="medley-") as folder, _quiet(), _sharing(processes, threads):
        agent = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle=",".join(
                ending.name for ending in ENDING if signal.getsignal(ending) is not signal.SIG_IGN
            ),
        )
        try:
            elastic_launch(agent, _work)(log.getEffectiveLevel(), work, *arguments)
            return
        except ChildFailedError as error:
            failure = _error_of(*error.get_first_failure())
        except SignalException as ended:
            caught = ended.sigval
    if failure:
        raise failure
    # Now that the processes are ended, so is this one, as the signal would have done without them.
    os.kill(os.getpid(), caught)
    raise StepFailed(f"the fit was ended by {signal.Signals(caught).name}; run the step again to go on")


def _work(level: int, work: Callable[..., object], *arguments: object) -> None:
    """Calls `work` in a new process, whose log is as its parent's."""
    begin_log()
    log.setLevel(level)
    work(*arguments)


def _error_of(rank: int, failure: ProcessFailure) -> MedleyError:
    """The error of a failed process, to be raised in this one."""
    message = failure.message
    if isinstance(message, dict):
        kind, _, sentence = str(message["message"]).partition(": ")
        error_type = getattr(errors, kind, None)
        if isinstance(error_type, type) and issubclass(error_type, MedleyError):
            return error_type(sentence)
        message = f"{kind}: {sentence}".splitlines()[0]
    why = f"was ended by {failure.signal_name()}" if failure.exitcode < 0 else f"failed ({message})"
    return StepFailed(f"process {rank} of the fit {why}; what it left is kept, run the step again to go on")


@contextmanager
def _sharing(processes: int, threads: int) -> Iterator[None]:
    """Inside, a new process is told how many there are, and its part of the threads, before it loads a library."""
    before = os.environ.get(LOCAL_PROCESSES)
    os.environ[LOCAL_PROCESSES] = str(processes)
    limit_threads(max(threads // processes, 1))
    try:
        yield
    finally:
        os.environ.pop(LOCAL_PROCESSES)
        if before:
            os.environ[LOCAL_PROCESSES] = before
        limit_threads(threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, the launcher logs no tracebacks, which one sentence replaces; after, its signal handlers are undone."""
    before, handlers = logging.root.manager.disable, {ending: signal.getsignal(ending) for ending in ENDING}
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
        for ending, handler in handlers.items():
            if signal.getsignal(ending) is not handler:
                signal.signal(ending, handler)
