"""Texts: MiniLM over abstracts of mixed length, beside what a user would run instead.

- sentence-transformers' `encode` at its defaults, on the same folder, which sorts by length as we do;
- torch, one text at a time, padded to 512 tokens, as an extraction framework for recommenders does.
"""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np

from tests.benchmarks.harness import DATA, Beside, Case, Quality, beside

ABSTRACTS = DATA / "movies" / "abstracts.json"
MODULE = "tests.benchmarks.encoders_text"
OURS = "tests.benchmarks.ours:text:run"
PADDED_TOKENS, EVERY = 512, 40
# Least mean cosine of int8 that is asked of the second of our ways.
LOOSER = 0.995


def cases(rows: int, rounds: int) -> list[Case]:
    """Every case of texts. Raises FileNotFoundError, with a reason, where there are no abstracts."""
    texts = mixed(rows)
    arguments = {"texts": texts}
    found = beside(
        {
            "ours": (OURS, arguments | {"settings": {}}),
            "ours int8": (OURS, arguments | {"settings": {"precision": "int8", "min_cosine": LOOSER}}),
            "sentence-transformers": (f"{MODULE}:sentence_transformers:run", arguments),
            "padded to 512, batch 1": (f"{MODULE}:padded:run", arguments | {"every": EVERY}),
        },
        rounds,
    )
    return [
        _case(found, "MiniLM, default settings", "ours", "sentence-transformers", 2.8, 0.999),
        _case(found, f"MiniLM, int8 at {LOOSER}", "ours int8", "sentence-transformers", 4, LOOSER),
        _case(found, "MiniLM, default settings", "ours", "padded to 512, batch 1", 15, 0.999),
        _case(found, f"MiniLM, int8 at {LOOSER}", "ours int8", "padded to 512, batch 1", 15, LOOSER),
        *trials(found, "MiniLM", ("ours", "ours int8")),
    ]


def mixed(rows: int) -> list[str]:
    """Abstracts cut at random, so that lengths are mixed: about 130 tokens on average."""
    if not ABSTRACTS.is_file():
        raise FileNotFoundError(
            f"{ABSTRACTS} is not there: set MEDLEY_TEST_DATA to the folder that holds the data sets"
        )
    draw = random.Random(0)
    abstracts = sorted(json.loads(ABSTRACTS.read_text("utf-8")).values())
    chosen = draw.sample(abstracts, min(rows, len(abstracts)))
    return list(dict.fromkeys(one[: int(len(one) * draw.uniform(0.6, 1.2))] for one in chosen))


def sentence_transformers(texts: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The library's `encode`, as its page shows it."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(_folder()), device="cpu")
    model.encode(texts[:32])
    functions = {"run": lambda: np.asarray(model.encode(texts)), "probe": lambda: np.asarray(model.encode(texts[:64]))}
    return functions, {"max_tokens": model.max_seq_length}


def padded(texts: list[str], every: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """transformers' model, a text at a time, every text padded to 512 tokens, averaged over those that are real."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(_folder()), AutoModel.from_pretrained(_folder()).eval()

    def one(text: str) -> np.ndarray:
        # What we read of a text too, so that vectors can be compared; the work is that of 512 tokens.
        tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        tokens = tokenizer.pad(tokens, padding="max_length", max_length=PADDED_TOKENS, return_tensors="pt")
        mask = tokens["attention_mask"]
        hidden = model(**tokens).last_hidden_state * mask[..., None]
        return np.asarray((hidden.sum(1) / mask.sum())[0])

    def run(chosen: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return np.stack([one(text) for text in chosen])

    run(texts[:1])
    return {"run": lambda: run(texts[::every]), "probe": lambda: run(texts[:3])}, {"every": every}


def trials(found: Beside, network: str, ways: tuple[str, ...]) -> list[Case]:
    """What every engine and precision does to a network, on the sample it was chosen on, beside torch in fp32."""
    cases = []
    for way in ways:
        told = found.facts.get(way, {}).get("trials", [])
        exact = next((one for one in told if (one["engine"], one["precision"]) == ("torch", "fp32")), None)
        for one in told:
            if exact and one is not exact:
                cases.append(_trial(f"{network}, {way}: {one['engine']} {one['precision']}", one, exact))
    return cases


def _trial(name: str, one: dict[str, Any], exact: dict[str, Any]) -> Case:
    kept = f", {one['kept']} layers in fp32" if one["precision"] == "int8" else ""
    rates = one["rows_per_second"], exact["rows_per_second"]
    return Case(
        name + kept,
        ours=rates[0],
        other=("torch fp32", rates[1]),
        ratio=rates[0] / rates[1],
        quality=Quality("mean cosine to fp32, sample", one["cosine"]),
        notes=(f"lowest cosine {one['lowest_cosine']:.4f}",),
    )


def _case(found: Beside, name: str, ours: str, other: str, target: float, bar: float) -> Case:
    return compared(found, (f"text, {name}", ours, other), target, bar)


def compared(found: Beside, names: tuple[str, str, str], target: float | None, bar: float | None) -> Case:
    """A case of two ways (its name, ours, the other), with the mean cosine between their vectors."""
    name, ours, other = names
    refused = [found.refused[way] for way in (ours, other) if way in found.refused]
    if refused:
        return Case(name, other=(other, None), target=target, notes=tuple(refused), failed=True)
    facts = found.facts[ours]
    chosen = f"chosen: {facts['engine']} {facts['precision']}, {facts['kept']} layers kept in fp32"
    once = f"once: load {facts['load_seconds']:.1f} s, choose {facts['choose_seconds']:.1f} s"
    return Case(
        name,
        ours=found.rate(ours),
        other=(other, found.rate(other)),
        ratio=found.ratio(ours, other),
        cpu_ratio=found.ratio(ours, other, cpu=True),
        quality=Quality(f"mean cosine to {other}", found.cosine(ours, other), bar),
        peak_rss_bytes=found.peaks(ours, other),
        target=target,
        notes=(chosen, once, found.range_of(ours, other)),
    )


def _folder() -> Any:
    from pipeline.encoders.text.kinds.transformer import TransformerText
    from pipeline.encoders.weights import locate

    return locate(TransformerText().weights)
