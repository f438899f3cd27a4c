"""One way of a benchmark, in a process of its own; `harness.Way` starts it and speaks to it line by line, in JSON.

    python -m tests.benchmarks.worker MODULE:FACTORY, and the arguments as the first line of standard input

The factory returns functions by name, each giving vectors (rows, d), and facts to report. What is named "before NAME"
runs before NAME, and is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from importlib import import_module
from typing import Any

import numpy as np

from pipeline.night import peak_rss_bytes


def main() -> None:
    # What libraries print must not be taken for a reply.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(**values: Any) -> None:
        replies.write(json.dumps(values) + "\n")

    module, _, name = sys.argv[1].partition(":")
    try:
        begin = time.perf_counter()
        functions, facts = getattr(import_module(module), name)(**json.loads(sys.stdin.readline()))
        reply(facts=facts, functions=list(functions), seconds=time.perf_counter() - begin)
        for line in sys.stdin:
            asked = json.loads(line)
            functions.get(f"before {asked['run']}", lambda: None)()
            begin, cpu_begin = time.perf_counter(), time.process_time()
            vectors = functions[asked["run"]]()
            took = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu_begin}
            np.save(asked["vectors"], vectors)
            reply(rows=len(vectors), peak_rss_bytes=peak_rss_bytes(), **took)
    except Exception as error:
        traceback.print_exc()
        reply(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
