"""ALS runs its own threads, and none of BLAS below them."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import python

# A process of its own, which is what a night's step is: what implicit itself loads has not been there before.
PROCESS = """
import sys, warnings
from pathlib import Path
import numpy as np
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content, Fit
from pipeline.recommend.models.als import ALS, AlsSettings

warnings.simplefilter("error")
codes = np.arange(40, dtype=np.int32)
log = Interactions(codes, codes, np.ones(40), np.ones(40), 40, 40)
content = Content(np.zeros((40, 1), np.float32), np.zeros(40, bool))
model, folder = ALS(AlsSettings(factors=4, iterations=2), threads=2), Path(sys.argv[2])
if sys.argv[1] == "fit":
    model.fit(content, log)
    model.save(folder)
else:
    model.restore(content, log, Fit(settings={"regularization": 20, "alpha": 4}), folder)
    model.user_vectors(log)
"""


def test_the_first_model_of_a_process_is_fitted_and_taken_up_with_blas_limited_to_one_thread(tmp_path: Path) -> None:
    # implicit warns, which is an error here, where it finds that BLAS has more.
    for what in ("fit", "restore"):
        python(PROCESS, what, tmp_path, env={"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"})
