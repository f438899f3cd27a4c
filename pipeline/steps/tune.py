"""Tune: the search for settings of the recommender, on the fused vectors of a run; see `pipeline.tuning.tune`.

It is no step of a night: what it finds is the user's to put into the YAML.
"""

from __future__ import annotations

from functools import cache, partial

from pipeline.errors import StepFailed
from pipeline.night import Night
from pipeline.steps.fits import metric_of, validation_of
from pipeline.steps.ingest import staged_of
from pipeline.steps.train import content_of
from pipeline.storage.documents import Json
from pipeline.tuning.search_space import Space, space_of
from pipeline.tuning.tune import Material, Place, search
from pipeline.workspace import digest

VERSION = 3


def run(night: Night) -> Json:
    """Searches, and returns what `tunes/<digest>/tune.json` says.

    Raises ConfigError if the space is wrong; StepFailed if nothing can be judged, or another search of it is running.
    """
    space, log = space_of(night.config), staged_of(night).read_log()
    train, validation = log.of("train"), validation_of(night, log)
    if not (len(train) and len(validation)):
        raise StepFailed("the training or the validation part is empty, so no setting can be judged; see ingest")
    material = Material(train, validation, cache(partial(content_of, night, log)))
    return search(night.config, space, material, Place(night.workspace, f"tunes/{_key(night, space)}", night.run_id))


def _key(night: Night, space: Space) -> str:
    """A search's name: of its space, data and base settings; not of its trials and time, which may grow."""
    config, log = night.config, staged_of(night).digest("interactions")
    how = [
        metric_of(night),
        config.evaluate.validation_users,
        config.tune.random_trials,
        config.tune.prune,
        {name: dimension.described() for name, dimension in space.items()},
    ]
    return digest("tune", VERSION, how, config.train.meaning(), config.seed, night.receipt("fuse").digest, log)
