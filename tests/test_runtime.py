"""What a step has freed."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from pipeline.runtime import giving_memory_back


class Cycle:
    """Holds itself, so that counting references does not free it."""

    def __init__(self) -> None:
        self.own, self.numbers = self, np.zeros(1000)


def test_what_a_step_has_freed_is_gone_whenever_it_was_made() -> None:
    gc.disable()
    try:
        with giving_memory_back():
            before = Cycle()
        with giving_memory_back():
            made, inside = Cycle(), Cycle()
            refs = [weakref.ref(cycle) for cycle in (before, made, inside)]
            del before, inside
        assert [ref() is None for ref in refs] == [True, False, True]
        del made
        with pytest.raises(ValueError, match="failed"), giving_memory_back():
            raise ValueError("failed")
        assert refs[1]() is None
    finally:
        gc.enable()
