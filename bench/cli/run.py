"""``pbench run``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..contracts import registry
from ..contracts.errors import UsageError
from ..contracts.model import ReferenceRow
from ..engine.plan import Request, parse_requests
from ..engine.run import Matrix, Summary, run_matrix
from .options import (
    chosen_among,
    dataset_requests,
    file_options,
    jobs_option,
    json_option,
    load_plugins,
    plugin_option,
    results_option,
)
from .progress import make_reporter
from .rendering import render_boards

#: Positive controls, then negative ones: no number of a board means much without them.
CONTROLS = ("oracle-mean", "technical-duplicate", "interpolated-duplicate", "train-mean", "no-change", "shuffled")
#: Beside the mean of the true cells, a draw of the cells themselves, which the legacy metrics rank below it.
LEGACY_CONTROL = "oracle-sampler"


@click.command(short_help="Run models on data sets and splits, then show the leaderboard.")
@click.option(
    "--models",
    default="all",
    show_default=True,
    help="Names, globs, 'all', with parameters: additive,'ridge*',knn-pca[n_neighbors=3]; with +anchor: cpa+anchor.",
)
@click.option(
    "--dataset",
    "--datasets",
    "dataset",
    default="norman-sim",
    show_default=True,
    help="Registered names, 'all', or the path of an .h5ad.",
)
@click.option(
    "--split", "--splits", "split", help="Names with parameters (doubles[seed=1]) or manifest files. Default: the data set's own."
)
@click.option("--seeds", default="0", show_default=True, help="Seeds of stochastic models: 0,1,2 or 0-4.")
@click.option("--metrics", default="full", show_default=True, help="A profile (headline, full) or names.")
@click.option(
    "--preset", default="standard", show_default=True, help="Parameters of models that have presets: quick, standard, paper."
)
@jobs_option
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds after which a job is stopped.")
@click.option("--memory", "memory_mb", type=click.FloatRange(0, min_open=True), help="Megabytes that a job may allocate.")
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="NAME=FILE",
    help="Side information for models, such as go=annotations.tsv; repeatable.",
)
@click.option(
    "--overwrite",
    type=click.Choice(["missing", "always", "never"]),
    default="missing",
    show_default=True,
    help="Which jobs to compute.",
)
@click.option(
    "--controls/--no-controls",
    default=True,
    show_default=True,
    help="Also run the rows that say what each metric can tell: "
    + ", ".join(CONTROLS)
    + f"; with legacy metrics {LEGACY_CONTROL} too.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@file_options
@plugin_option
@results_option
@json_option
def run(
    models: str,
    dataset: str,
    split: str | None,
    seeds: str,
    metrics: str,
    preset: str,
    jobs: int,
    timeout: float | None,
    memory_mb: float | None,
    resources: tuple[str, ...],
    overwrite: str,
    controls: bool,
    quiet: bool,
    plugins: tuple[str, ...],
    results: Path,
    as_json: bool,
    **file: Any,
) -> int:
    """Run every (model, data set, split, seed) that has no result yet, and show the leaderboard.

    Each job runs in a process of its own. A job that fails becomes a row with a reason and the others finish. The same
    command again computes only what is missing; whatever has changed (data, split, code, parameters, versions) is
    computed anew.

    \b
    Examples:
      pbench run
      pbench run --models all --dataset norman-mini --split doubles --jobs 2
      pbench run --models additive,mine --plugin mine.py --dataset norman-sim --seeds 0-4
      pbench run --dataset my.h5ad --scale counts --control-label NT --split unseen-single
    """
    found = load_plugins(plugins)
    chosen = parse_metrics(metrics)
    matrix = Matrix(
        models=with_controls(models, chosen) if controls else model_requests(models),
        datasets=dataset_requests(dataset, file),
        splits=split_requests(split),
        seeds=parse_seeds(seeds),
        metrics=chosen,
        out=results.resolve(),
        preset=preset,
        jobs=jobs,
        timeout=timeout,
        memory_mb=memory_mb,
        plugins=found,
        resources=dict(_pair(r) for r in resources),
        overwrite=overwrite,
    )
    with make_reporter(quiet=quiet or as_json) as reporter:
        summary = run_matrix(matrix, reporter)
    ids = {c["score_id"] for c in summary.cards}
    text = render_boards(results, lambda card: card["score_id"] in ids)
    (results / "leaderboard.md").write_text(text)
    if as_json:
        click.echo(json.dumps(_report(summary, results), indent=1, sort_keys=True))
    else:
        click.echo(text)
        click.echo(closing(summary, results), err=True)
    return 1 if summary.failed else 0


def closing(summary: Summary, results: Path) -> str:
    """The last words of a run."""
    words = f"{summary.computed} job(s) computed, {summary.reused} already there. Leaderboard: {results / 'leaderboard.md'}; rows: {results / 'records.parquet'}"
    for card in summary.failed:
        for metric, reason in card.get("metrics_failed", {}).items():
            words += (
                f"\nmetric failed: {metric} of {card['model']} on {card['spec']['dataset']} / {card['spec']['split']}: {reason}"
            )
        if card["status"] == "ok":
            continue
        words += f"\n{card['status'].replace('_', ' ')}: {card['model']} on {card['spec']['dataset']} / {card['spec']['split']}: {card['reason']}"
    return words


def _report(summary: Summary, results: Path) -> dict[str, Any]:
    return {
        "computed": summary.computed,
        "reused": summary.reused,
        "failed": len(summary.failed),
        "leaderboard": str(results / "leaderboard.md"),
        "records": str(results / "records.parquet"),
        "jobs": sorted(summary.cards, key=lambda c: c["score_id"]),
    }


def model_requests(text: str) -> list[Request]:
    """Registered models by name, glob, group or ``all``, with parameters."""
    found = parse_requests(
        text,
        chosen_among(registry.models, text),
        kind="model",
        groups=registry.models.groups(),
        variants=registry.models.variants(),
    )
    # What is made of test cells is nobody's prediction to build on; "all+anchor" means the models.
    kept = [r for r in found if not _varies_reference(r.name)]
    if not kept:
        raise UsageError(f"--models {text}: reference rows have no variants.")
    return kept


def _varies_reference(name: str) -> bool:
    base, suffix = registry.models.split(name)
    model_class = registry.models.get(base) if suffix else None
    return isinstance(model_class, type) and issubclass(model_class, ReferenceRow)


def controls_of(metrics: Sequence[str]) -> tuple[str, ...]:
    """`CONTROLS`, and `LEGACY_CONTROL` where one of the metrics is a legacy metric."""
    from ...metrics import PROFILES

    legacy = not set(metrics).isdisjoint(PROFILES["legacy"])
    return (CONTROLS[0], LEGACY_CONTROL, *CONTROLS[1:]) if legacy else CONTROLS


def with_controls(text: str, metrics: Sequence[str]) -> list[Request]:
    """The same, followed by those of the controls of the metrics that are not among them."""
    asked = model_requests(text)
    return asked + [Request(name) for name in controls_of(metrics) if str(Request(name)) not in map(str, asked)]


def split_requests(text: str | None) -> list[Request | Path]:
    """Registered splits with parameters, and manifest files."""
    if not text:
        return []
    if text.endswith(".json") or "/" in text:
        return [Path(p.strip()).expanduser().resolve() for p in text.split(",")]
    return list(parse_requests(text, registry.splits.names(), kind="split"))


def parse_seeds(text: str) -> tuple[int, ...]:
    """``0,1,2`` or ``0-4``.

    >>> parse_seeds("0-2,7")
    (0, 1, 2, 7)
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        raise UsageError(f"--seeds {text}: give whole numbers and ranges such as 0,1,2 or 0-4.") from None
    if not seeds:
        raise UsageError(f"--seeds {text} names no seed.")
    return tuple(dict.fromkeys(seeds))


def parse_metrics(text: str) -> tuple[str, ...]:
    """Ids of a profile or of a comma list."""
    from ...metrics import PROFILES

    known = chosen_among(registry.metrics, text)
    if text == "full":
        return tuple(known)
    if text in PROFILES:
        return PROFILES[text]
    found = parse_requests(text, known, kind="metric")
    if given := [r for r in found if r.params]:
        raise UsageError(f"--metrics {given[0]}: a metric has no parameters. Type: pbench list metrics")
    return tuple(r.name for r in found)


def _pair(text: str) -> tuple[str, str]:
    name, sep, path = text.partition("=")
    if not sep:
        raise UsageError(f"--resource {text}: give NAME=FILE, such as go=annotations.tsv.")
    return name, path
