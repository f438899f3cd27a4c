"""Reads the files of a finished run into the data of its report."""

from __future__ import annotations

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.staged import Staged
from pipeline.report.files import RunFiles, read_json
from pipeline.report.intake import (
    example_ids,
    modalities_of,
    receipts,
    steps_of,
    without_vector_of,
)
from pipeline.report.item_map import map_of
from pipeline.report.items import items_of, popularity
from pipeline.report.model import Gate, Report
from pipeline.report.pictures import Studio, aspect
from pipeline.report.scores import ablation_of, curves_of, headline_of, metrics_of, paired_of, reranked_of
from pipeline.report.tuning import tuning_of
from pipeline.report.user_examples import drawn, shelves_of
from pipeline.report.weights import blend_of


def gather(run: RunFiles) -> Report:
    """Reads receipts, split, metrics, curves, fused and published vectors, and staged tables of one run.

    Raises WorkspaceError if one of them is missing or unreadable.
    """
    metrics = read_json(run.folder / "metrics.json")
    curves, documents = curves_of(read_json(run.model / "curves.json")), receipts(run)
    modalities = Fused(run.fused).modalities()
    studio = Studio(run.media_root, run.max_image_bytes, run.max_image_pixels)
    chosen, headline = popularity(run), (run.headline_metric, run.headline_segment)
    shelves, tiles = shelves_of(run, drawn(run), studio, chosen)
    titles = {item_id: item.title for item_id, item in items_of(run, example_ids(documents)).items()}
    return Report(
        name=run.name,
        note=run.note,
        run_id=run.run_id,
        as_of=run.as_of,
        index_digest=run.index.name,
        seed=run.seed,
        gate=Gate(run.published, run.gate),
        source=Staged(run.staged).summary,
        without_vector=without_vector_of(documents),
        headline=headline_of(metrics, curves.model, headline, run.gate_baseline),
        modalities=modalities_of(documents, modalities, titles),
        metrics=metrics_of(metrics, curves.model, headline),
        paired=paired_of(metrics, curves.model),
        ablation=ablation_of(metrics, run.headline_metric),
        reranked=reranked_of(metrics),
        curves=curves,
        map=map_of(run, studio, chosen),
        blend=blend_of(run, documents),
        shelves=shelves,
        card_ratio=aspect(tiles),
        steps=steps_of(documents, run.steps, modalities),
        tuning=tuning_of(run.workspace),
    )
