"""ALS runs its own threads, and none of BLAS below them."""

from __future__ import annotations

from tests.conftest import python

# The first fit of a process, which is what a night's step is: what implicit itself loads has not been there before.
FIRST_FIT = """
import warnings
import numpy as np
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content
from pipeline.recommend.models.als import ALS, AlsSettings

warnings.simplefilter("error")
codes = np.arange(40, dtype=np.int32)
log = Interactions(codes, codes, np.ones(40), np.ones(40), 40, 40)
content = Content(np.zeros((40, 1), np.float32), np.zeros(40, bool))
ALS(AlsSettings(factors=4, iterations=2), threads=2).fit(content, log)
print("fitted")
"""


def test_the_first_fit_of_a_process_limits_blas_to_one_thread() -> None:
    two = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    assert python(FIRST_FIT, env=two).stdout.split() == ["fitted"]
