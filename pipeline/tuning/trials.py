"""Trials of a search for settings, as `tune.json`, the log and the command line show them."""

from __future__ import annotations

import json

import yaml
from optuna.trial import FrozenTrial, TrialState

from pipeline.workspace import Json

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def described(trial: FrozenTrial) -> Json:
    """A trial as `tune.json` has it; one that a kill cut short is `interrupted`."""
    noted = trial.user_attrs
    interrupted = trial.state == TrialState.FAIL and "problem" not in noted
    return {
        "number": trial.number,
        "state": "interrupted" if interrupted else STATES[trial.state],
        "settings": dict(sorted(trial.params.items())),
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "epochs": noted.get("epochs"),
        "seconds": noted.get("seconds"),
        "configured": bool(noted.get("configured")),
        "problem": noted.get("problem", ""),
    }


def line(trial: Json, wanted: int, metric: str) -> str:
    """One line for the log."""
    settings = " ".join(f"{name.removeprefix('train.')}={_short(value)}" for name, value in trial["settings"].items())
    result = trial["problem"] or trial["state"] if trial["value"] is None else f"{metric}={trial['value']:.4f}"
    return f"tune trial {trial['number'] + 1}/{wanted} {result} {trial['seconds']} s {settings}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def advice(found: Json) -> str:
    """A finished search's best trial, as `-s` options and, but for a blend's members, as YAML."""
    best, own = found["best"], found["configured"]
    before = f", as configured {own['value']:.4f}" if own else ""
    lines = [f"best of {len(found['trials'])} trials: {found['metric']} on validation {best['value']:.4f}{before}"]
    if best["configured"]:
        return f"{lines[0]}; the settings may stay as they are"
    lines += [f"  -s {name}={json.dumps(value)}" for name, value in best["settings"].items()]
    if any(name.startswith("train.members.") for name in best["settings"]):
        return "\n".join(lines)
    document: Json = {}
    for name, value in best["settings"].items():
        *parents, last = name.split(".")
        section = document
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return "\n".join([*lines, "or in the YAML file:", yaml.safe_dump(document, sort_keys=True).rstrip()])
