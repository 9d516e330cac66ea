"""``pbench run``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..contracts.errors import UsageError
from ..engine.executors import executor
from ..engine.folders import write_atomically
from ..engine.run import Matrix, Summary, run_matrix
from .options import (
    Memory,
    dataset_requests,
    file_options,
    jobs_option,
    json_option,
    load_plugins,
    plugin_option,
    results_option,
)
from .progress import make_reporter
from .requests import (
    CONTROLS,
    DEFAULTS,
    LEGACY_CONTROL,
    PREDICTION,
    TRACKS,
    model_requests,
    parse_metrics,
    parse_seeds,
    split_requests,
    with_controls,
)


@click.command(short_help="Run models on data sets and splits, then show the leaderboard.")
@click.option(
    "--models",
    default="all",
    show_default=True,
    help="Names, globs, 'all', with parameters: additive,'ridge*',knn-pca[n_neighbors=3]; with +anchor: cpa+anchor.",
)
@click.option(
    "--track",
    type=click.Choice(TRACKS),
    default=PREDICTION,
    show_default=True,
    help="What is scored: predictions of conditions, or latent variables of cells.",
)
@click.option(
    "--dataset",
    "--datasets",
    "dataset",
    show_default="norman-sim; latent-static,latent-temporal",
    help="Registered names, simulated ones with parameters (latent-temporal[mode=snapshot]), 'all', or the path of an .h5ad or .zarr.",
)
@click.option(
    "--split", "--splits", "split", help="Names with parameters (doubles[seed=1]) or manifest files. Default: the data set's own."
)
@click.option("--seeds", default="1", show_default=True, help="How many seeds of stochastic models, or which: 0,1,2 or 0-4.")
@click.option("--metrics", default="full", show_default=True, help="A profile (headline, full: all of the track) or names.")
@click.option(
    "--preset", default="standard", show_default=True, help="Parameters of models that have presets: quick, standard, paper."
)
@jobs_option
@click.option(
    "--executor",
    "where",
    default="local",
    show_default=True,
    metavar="NAME[:OPTIONS]",
    help="Where jobs run: local (processes of this machine), ray[:HOST:PORT] (a cluster, or one started here), "
    "slurm[:partition=gpu,time=60].",
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds after which a job is stopped.")
@click.option(
    "--memory",
    "memory_mb",
    type=Memory(),
    metavar="SIZE",
    help="Memory that each process may allocate, such as 4GB; larger data are streamed.",
)
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
    track: str,
    dataset: str | None,
    split: str | None,
    seeds: str,
    metrics: str,
    preset: str,
    jobs: int,
    where: str,
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
      pbench run --track identifiability --preset quick --seeds 3
      pbench run --models all --dataset norman-mini --executor ray:10.0.0.1:6379
    """
    from .rendering import render_boards

    found = load_plugins(plugins)
    chosen = parse_metrics(metrics, track)
    named_dataset, named_split = DEFAULTS[track]
    matrix = Matrix(
        models=with_controls(models, chosen, track) if controls else model_requests(models, track),
        datasets=dataset_requests(named_dataset if dataset is None else dataset, file),
        splits=split_requests(named_split if split is None else split),
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
    with executor(where, results=matrix.out) as run_jobs, make_reporter(quiet=quiet or as_json) as reporter:
        summary = run_matrix(matrix, reporter, run_jobs=run_jobs)
    ids = {c["score_id"] for c in summary.cards}
    text = render_boards(results, lambda card: card["score_id"] in ids)
    write_atomically(results / "leaderboard.md", lambda p: p.write_text(text, encoding="utf-8"))
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


def _pair(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not (name.strip() and path.strip()):
        raise UsageError(f"--resource {text}: give NAME=FILE, such as go=annotations.tsv.")
    return name, path
