"""Encoders beside what a user would run instead: how many times as fast, at which cosine, in how much memory.

    python -m tests.benchmarks.encoders [--json] [--only text|image|audio|nights] [--gpu] [--quick]

`--quick` takes a tenth of the rows and one round: it shows that everything runs, and its ratios are rough.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from tests.benchmarks.harness import Case, Quality, document

GROUPS = ("text", "image", "audio", "nights")
TEXTS, PICTURES, ROUNDS = 2000, 600, 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.encoders", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--only", choices=GROUPS, action="append", help="one group; repeatable; all by default")
    parser.add_argument("--gpu", action="store_true", help="what CUDA gives, where there is a card; nothing else")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one round")
    asked = parser.parse_args()
    cases = gpu() if asked.gpu else [case for name in asked.only or GROUPS for case in group(name, asked.quick)]
    made = document(cases)
    print(json.dumps(made) if asked.json else f"{made['machine']}\n\n{table(cases)}")


def group(name: str, quick: bool) -> list[Case]:
    """The cases of one group; one that says why where its data are absent."""
    share, rounds = (10, 1) if quick else (1, ROUNDS)
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        return _groups(share, rounds)[name]()
    except FileNotFoundError as error:
        return [Case(name, notes=(f"skipped: {error}",))]


def _groups(share: int, rounds: int) -> dict[str, Callable[[], list[Case]]]:
    def text() -> list[Case]:
        from tests.benchmarks import encoders_text

        return encoders_text.cases(TEXTS // share, rounds)

    def image() -> list[Case]:
        from tests.benchmarks import encoders_image

        return encoders_image.cases(PICTURES // share, rounds)

    def nights() -> list[Case]:
        from tests.benchmarks import encoders_nights

        return encoders_nights.cases(share)

    return {"text": text, "image": image, "audio": lambda: audio(rounds), "nights": nights}


def audio(rounds: int) -> list[Case]:
    """The cases of audio, which are measured in one process and told in a form of their own."""
    from tests.benchmarks import encoders_audio

    return [
        Case(
            str(told["name"]),
            ours=told["clips"] / told["seconds"]["ours"],
            other=("librosa", told["clips"] / told["seconds"]["librosa"]),
            ratio=told["ratio"],
            cpu_ratio=told["cpu_ratio"],
            quality=Quality("largest difference of a statistic", told["max_difference"]),
            peak_rss_bytes={way: peak for way, peak in told["peak_bytes"].items() if peak is not None},
            notes=("peak memory is what the run adds to its process",),
        )
        for told in encoders_audio.cases(rounds)
    ]


def gpu() -> list[Case]:
    """What a card gives; one case that says so where there is none."""
    import torch

    if not torch.cuda.is_available():
        return [Case("gpu", notes=("skipped: torch finds no CUDA device",))]
    from tests.benchmarks import encoders_gpu

    return encoders_gpu.cases()


def table(cases: list[Case]) -> str:
    """Cases for people: a line of numbers each, and what to know of it below."""
    lines = []
    for case in cases:
        mark = {True: "met", False: "NOT MET", None: ""}[case.met]
        lines.append(
            f"{case.name}" + (f"  vs {case.other[0]}" if case.other[0] else "") + (f"  {mark}" if mark else "")
        )
        lines += [f"    {line}" for line in _numbers(case)]
        lines += [f"    {note}" for note in case.notes]
    return "\n".join(lines)


def _numbers(case: Case) -> list[str]:
    parts = []
    if case.ratio is not None:
        sign = "<=" if case.at_most else ">="
        wanted = f" (target {sign} {case.target:g})" if case.target is not None else ""
        parts.append(f"ratio {case.ratio:.3g}{wanted}")
    if case.cpu_ratio is not None:
        parts.append(f"by processor time {case.cpu_ratio:.3g}")
    if case.ours is not None and case.other[1] is not None:
        parts.append(f"{case.ours:.1f} against {case.other[1]:.1f} rows/s")
    if case.quality:
        bar = f" (bar {case.quality.bar:g})" if case.quality.bar is not None else ""
        parts.append(f"{case.quality.what} {case.quality.value:.5g}{bar}")
    peaks = ", ".join(f"{way} {peak / 1e9:.2f} GB" for way, peak in case.peak_rss_bytes.items())
    return [", ".join(parts)] * bool(parts) + [f"peak memory: {peaks}"] * bool(peaks)


if __name__ == "__main__":
    main()
