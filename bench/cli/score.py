"""``pbench score``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..contracts import registry
from ..contracts.errors import DataError, UsageError, suggestion
from ..engine.plan import Request
from ..engine.run import Matrix, Summary, limit_threads, run_matrix
from ..engine.stage import DatasetRequest
from ..engine.submission import Submission, SubmissionRequest, submitted
from ..engine.submission_files import KINDS
from ..engine.submission_layouts import CONVENTIONS, SCALES, Reading
from .options import dataset_requests, file_options, json_option, load_plugins, plugin_option, results_option
from .progress import make_reporter
from .rendering import render_boards
from .run import CONTROLS, closing, parse_metrics, split_requests

#: Controls that are made from training conditions, which nobody knows without a split.
TRAINED = ("interpolated-duplicate", "train-mean")
#: Options that say how to read the predictions, by the field of `Reading`.
PREDICTION_OPTIONS = {
    "scale": f"Scale of the predictions: {', '.join(SCALES)} (delta: means of changes against control).",
    "perturbation_key": "Column with the perturbation of a prediction.",
    "control_label": "Label of predicted control cells, which are not used.",
    "separator": "What joins the targets of a combination ('none': labels are single targets).",
    "context_key": "Column with the context.",
    "dose_key": "Column with doses.",
    "time_key": "Column with hours.",
    "layer": "Layer of an .h5ad that holds the predictions, instead of X.",
    "gene_key": "Column of var with gene names, instead of its index.",
}


def prediction_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(PREDICTION_OPTIONS.items()):
        function = click.option(f"--prediction-{name.replace('_', '-')}", f"prediction_{name}", help=text)(function)
    return function


@dataclass(frozen=True)
class Named(Request):
    """The request for a submission, which goes by the name that its owner gives it."""

    label: str = ""

    def __str__(self) -> str:
        return self.label


@click.command(short_help="Score predictions in a file of yours, without any model code.")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option(
    "--truth", required=True, help="Registered data set, or the path of an .h5ad (say how to read it as for pbench run)."
)
@click.option(
    "--split",
    help="What is test and what is training: a name with parameters or a manifest file. Default: everything is test, and "
    "controls that are made from training are left out.",
)
@click.option("--name", help="Name of the predictions on the board. Default: the file's.")
@click.option(
    "--metrics",
    "--profile",
    "metrics",
    default="full",
    show_default=True,
    help="A profile (headline, full, …) or names of metrics.",
)
@click.option(
    "--layout",
    type=click.Choice(list(CONVENTIONS)),
    help="How the predictions name things. Default: by the names of their columns.",
)
@prediction_options
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1),
    default=lambda: min(4, os.cpu_count() or 1),
    show_default="cores, at most 4",
    help="Jobs at a time.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@file_options
@plugin_option
@results_option
@json_option
def score(
    predictions: Path,
    truth: str,
    split: str | None,
    name: str | None,
    metrics: str,
    layout: str | None,
    jobs: int,
    quiet: bool,
    plugins: tuple[str, ...],
    results: Path,
    as_json: bool,
    **given: Any,
) -> int:
    """Score predictions beside the controls that say what their numbers mean.

    PREDICTIONS is an .h5ad with predicted cells or one row a perturbation (layouts of cell-eval, scPerturb, GEARS and pbench), a
    .vcc of cell-eval prep, a .csv, .tsv or .parquet with one row a perturbation and one column a gene, or an .npz that pbench run
    has archived. Rows and columns are joined with the truth by name. The scale is declared, never guessed.

    \b
    Examples:
      pbench score predictions.h5ad --truth norman-sim --split doubles --prediction-scale log1p_1e4
      pbench score means.csv --truth my.h5ad --scale counts --control-label NT --prediction-scale log1p_1e4
      pbench score run7.vcc --truth norman --split doubles --prediction-scale log1p_1e4 --metrics vcc --name run7
    """
    found = load_plugins(plugins)
    reading = Reading(layout=layout, **{n: given.pop(f"prediction_{n}") for n in PREDICTION_OPTIONS})
    check_file(predictions.expanduser(), reading)
    label = checked_name(predictions.stem if name is None else name)
    chosen = parse_metrics(metrics)
    dataset = truth_request(truth, given)
    limit_threads(jobs)
    with make_reporter(quiet=quiet or as_json) as reporter:
        reporter.phase(f"reading {predictions.name}")
        submission = submitted(
            SubmissionRequest(
                predictions.expanduser().resolve(),
                reading,
                dataset,
                dataset.dataset().data_id(),
                split_requests(split),
                any({"cells", "variance"} & set(registry.metrics.get(m).needs) for m in chosen),
                found,
            )
        )
        controls = [c for c in CONTROLS if split or c not in TRAINED]
        matrix = Matrix(
            models=[submission_request(submission, label), *map(Request, controls)],
            datasets=[dataset],
            splits=submission.splits,
            seeds=(0,),
            metrics=chosen,
            out=results.resolve(),
            jobs=jobs,
            plugins=found,
        )
        summary = run_matrix(matrix, reporter)
    notes = list(submission.notes)
    if not split:
        notes.append(
            f"No --split was named: all perturbations are test, and controls made from training ({', '.join(TRAINED)}) are left out."
        )
    ids = {c["score_id"] for c in summary.cards}
    text = render_boards(results, lambda card: card["score_id"] in ids)
    (results / "leaderboard.md").write_text(text)
    if as_json:
        click.echo(json.dumps(report(summary, submission, label, notes, results), indent=1, sort_keys=True))
    else:
        click.echo(text)
        click.echo("\n".join([*notes, closing(summary, results)]), err=True)
    return 1 if summary.failed else 0


def submission_request(submission: Submission, label: str) -> Named:
    """The request for the model that looks prepared predictions up."""
    from ...models.submission import Content

    return Named("submission", {"content": Content(submission.id, submission.folder)}, label)


def check_file(predictions: Path, reading: Reading) -> None:
    """Ask for the scale where it is not given, before anything is read.

    Raises
    ------
    DataError
        If there is no such file.
    UsageError
        If it is of an unknown kind, or the scale is missing, unknown, or given for an archive, which knows its own.
    """
    if not predictions.is_file():
        raise DataError(f"{predictions}: there is no such file.")
    kind = predictions.suffix.lower()
    if kind not in KINDS:
        raise UsageError(f"{predictions.name}: predictions are read from files that end in {', '.join(KINDS)}.")
    if kind == ".npz":
        if reading.scale is not None:
            raise UsageError(f"{predictions.name} was written by pbench run and knows its scale; leave out --prediction-scale.")
    elif reading.scale is None:
        raise UsageError(
            f"{predictions.name}: say what its values are with --prediction-scale {', '.join(SCALES[:-1])} or {SCALES[-1]}; it is never guessed."
        )
    elif reading.scale not in SCALES:
        raise UsageError(f"--prediction-scale {reading.scale} is unknown. {suggestion(reading.scale, SCALES)}")


def checked_name(name: str) -> str:
    """The name of a row of the board.

    Raises
    ------
    UsageError
        If it is empty, unprintable, or that of a registered model.
    """
    name = name.strip()
    if not name or not name.isprintable() or any(ch in name for ch in "[]"):
        raise UsageError(f"--name {name!r} cannot be shown on a board; give one line of letters without brackets.")
    if name in registry.models:
        raise UsageError(f"'{name}' is a registered model; give the predictions a name of their own with --name.")
    return name


def truth_request(truth: str, options: dict[str, Any]) -> DatasetRequest:
    """The one data set or file to score against.

    Raises
    ------
    UsageError, DataError
        If it is unknown, absent, or there are several.
    """
    requests = dataset_requests(truth, options, option="--truth")
    if len(requests) != 1:
        raise UsageError(f"--truth {truth} names {len(requests)} data sets; predictions are scored against one.")
    return requests[0]


def report(summary: Summary, submission: Submission, label: str, notes: list[str], results: Path) -> dict[str, Any]:
    """What `--json` prints."""
    facts = dict(submission.facts)
    return {
        "name": label,
        "submission": {
            "id": submission.id,
            "layout": facts["layout"],
            "scale": facts["declared_scale"],
            "cells": facts["cells"],
            "n_conditions": len(facts["conditions"]),
            "n_rows": sum(facts["n_rows"]),
            "controls_ignored": facts["controls_ignored"],
            "genes_ignored": facts["genes_ignored"],
            "unknown": facts["unknown"],
            "missing": list(submission.missing),
        },
        "notes": notes,
        "computed": summary.computed,
        "reused": summary.reused,
        "failed": len(summary.failed),
        "leaderboard": str(results / "leaderboard.md"),
        "records": str(results / "records.parquet"),
        "jobs": sorted(summary.cards, key=lambda c: c["score_id"]),
    }
