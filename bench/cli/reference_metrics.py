"""The page of a metric."""

from __future__ import annotations

import math

from ...leaderboards.text import ARROWS, number
from ..contracts.metric import NEEDS, MetricInfo
from ..contracts.registry import Entry
from .page_text import code, commands, facts, plain, prose, quoted

DIRECTIONS = {"up": "higher is better", "down": "lower is better", "target": "closest to the perfect value is best"}
LEVELS = {
    "perturbation": "a value for each perturbation",
    "latent": "a value for each latent variable",
    "dataset": "one value for a data set",
}
PARTS = {
    "genes": {
        "all": "all genes",
        "deg": "the genes that the truth's test calls",
        "de": "genes that the truth changes most (largest absolute Welch t against control, perturbed genes left out)",
        "expressed": "the most expressed genes",
    },
    "reference": {
        "ctrl": "changes are taken against the control mean of the context",
        "pert": "changes are taken against the control mean plus the mean training change",
        "loo": "changes are taken against the control mean plus the mean change of all other perturbations",
    },
}
NEEDED = {
    "means": "predicted means",
    "variance": "predicted variances over cells",
    "cells": "predicted cells",
    "truth_cells": "cells of the truth",
    "de": "the truth's tests for differential expression",
    "latents": "known latent variables and the model's codes",
    "log1p": "a scale of counts or their logarithm",
}


def metric_page(entry: Entry, metric: MetricInfo) -> str:
    """Markdown of a metric: its formula, its facts, how it can mislead, and what it goes with."""
    from ...metrics import FAMILIES, PROFILES

    page = next((name for name, metrics in FAMILIES.items() if any(m.id == metric.id for m in metrics)), "")
    profiles = [p for p, ids in PROFILES.items() if metric.id in ids]
    reasons = [code(NEEDS[n]) for n in metric.needs if NEEDS.get(n, "absent") != "absent"]
    rows = [
        ("better", f"{ARROWS.get(metric.direction, '')} {DIRECTIONS.get(metric.direction, plain(str(metric.direction)))}"),
        ("range", f"{_bound(metric.lower)} to {_bound(metric.upper)}"),
        ("perfect", _bound(metric.perfect)),
        ("level", LEVELS.get(metric.level, plain(str(metric.level)))),
        ("genes", _genes(metric.parts["genes"])),
        ("reference", PARTS["reference"].get(metric.parts["reference"], plain(metric.parts["reference"]))),
        ("representation", code(metric.parts["representation"]) if metric.parts["representation"] else ""),
        ("needs", "; ".join(NEEDED.get(n, plain(str(n))) for n in metric.needs)),
        ("also reads, where they are there", "; ".join(NEEDED.get(n, plain(str(n))) for n in metric.reads)),
        ("undefined without them, with the reason", ", ".join(dict.fromkeys(reasons))),
        ("in the profiles", ", ".join(code(p) for p in profiles)),
        ("version", f"{metric.version}; results of another version are never mixed with it"),
        ("family", f"[{plain(page)}](../../metrics/{page}.md)" if page and entry.origin == "built in" else ""),
        ("origin", plain(entry.origin)),
    ]
    parts = [f"# {code(metric.id)}", prose(metric.summary), facts(rows)]
    if metric.caveats:
        parts += ["## How it can mislead", prose(metric.caveats)]
    if metric.reference:
        parts += ["## Source", prose(metric.reference) + "."]
    track = " --track identifiability" if metric.of_latents else ""
    name = quoted(metric.id)
    lines = [f"pbench show {name}", f"pbench run{track} --metrics {name} --preset quick"]
    return "\n\n".join([*parts, "## Try it", commands(*lines), "[All metrics](index.md)"]) + "\n"


def _genes(name: str) -> str:
    for start, text in PARTS["genes"].items():
        count = name.removeprefix(start)
        if name == start or (name.startswith(start) and count.isdigit()):
            return f"the {int(count):,} {text.removeprefix('the ')}" if count else text
    return plain(name)


def _bound(value: float) -> str:
    return ("−∞" if value < 0 else "∞") if math.isinf(value) else number(value)
