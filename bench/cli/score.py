"""``pbench score``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from ...leaderboards.controls import TRAINED
from ...leaderboards.markdown import escape
from ..contracts import registry
from ..contracts.errors import UsageError
from ..engine.folders import write_atomically
from ..engine.plan import Request
from ..engine.run import Matrix, Summary, limit_threads, run_matrix
from ..engine.store import Store
from ..engine.submission import Submission, SubmissionRequest, check_label, submitted
from ..engine.submission_files import check_readable
from ..engine.submission_layouts import CONVENTIONS, SCALES, Reading
from ..engine.submission_notes import rows_shown
from .options import dataset_requests, file_options, jobs_option, json_option, load_plugins, plugin_option, results_option
from .progress import make_reporter
from .rendering import render_boards
from .requests import controls_of, parse_metrics, split_requests
from .run import closing

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
    "--truth", required=True, help="Registered data set, or the path of an .h5ad or .zarr (say how to read it as for pbench run)."
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
@click.option(
    "--rows",
    type=click.Choice(["cells", "means"]),
    help="What a row of an .h5ad is; means of one perturbation are averaged. Default: cells where perturbations have 10 rows or "
    "more at the median, means where each has one; between, you are asked.",
)
@prediction_options
@click.option(
    "--overwrite",
    type=click.Choice(["missing", "always"]),
    default="missing",
    show_default=True,
    help="Compute what is missing, or all anew; the latter also lets predictions take the name of others.",
)
@jobs_option
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
    rows: str | None,
    overwrite: str,
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
    reading = Reading(layout=layout, rows=rows, **{n: given.pop(f"prediction_{n}") for n in PREDICTION_OPTIONS})
    check_readable(predictions.expanduser(), reading)
    label = checked_name(predictions.stem if name is None else name)
    chosen = parse_metrics(metrics)
    dataset, *more = dataset_requests(truth, given, option="--truth")
    if more:
        raise UsageError(f"--truth {truth} names {1 + len(more)} data sets; predictions are scored against one.")
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
        if overwrite != "always":
            check_label(Store(results), label, submission)
        controls = [c for c in controls_of(chosen) if split or c not in TRAINED]
        matrix = Matrix(
            models=[submission_request(submission, label), *map(Request, controls)],
            datasets=[dataset],
            splits=submission.splits,
            seeds=(0,),
            metrics=chosen,
            out=results.resolve(),
            jobs=jobs,
            plugins=found,
            overwrite=overwrite,
        )
        summary = run_matrix(matrix, reporter)
    notes = list(submission.notes)
    if not split:
        notes.append(
            f"No --split was named: all perturbations are test, and controls made from training ({', '.join(TRAINED)}) are left out."
        )
    ids = {c["score_id"] for c in summary.cards}
    text = render_boards(results, lambda card: card["score_id"] in ids) + about(submission, label, notes)
    write_atomically(results / "leaderboard.md", lambda p: p.write_text(text, encoding="utf-8"))
    if as_json:
        click.echo(json.dumps(report(summary, submission, label, notes, results), indent=1, sort_keys=True))
    else:
        click.echo(text)
        click.echo("\n".join([*notes, closing(summary, results)]), err=True)
    return 1 if summary.failed else 0


def submission_request(submission: Submission, label: str) -> Named:
    """The request for the model that looks prepared predictions up."""
    from ...models.submission import Content

    content = Content(submission.id, submission.folder)
    return Named("submission", {"content": content, "label": label, "prepared": submission.folder.name}, label)


def about(submission: Submission, label: str, notes: list[str]) -> str:
    """What the text of a board says of the predictions themselves."""
    facts = submission.facts
    read = f"Layout {facts['layout']}, scale {facts['declared_scale']}, {rows_shown(facts)}. Content {submission.id[:12]}."
    return "\n".join([f"\n## About the predictions {escape(label)}\n", *(f"- {escape(x)}" for x in (read, *notes))]) + "\n"


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


def report(summary: Summary, submission: Submission, label: str, notes: list[str], results: Path) -> dict[str, Any]:
    """What `--json` prints."""
    facts = submission.facts
    return {
        "name": label,
        "submission": {
            "id": submission.id,
            "scale": facts["declared_scale"],
            "n_conditions": len(facts["conditions"]),
            "n_rows": sum(facts["n_rows"]),
            "rows_per_perturbation": median(facts["n_rows"]),
            "missing": list(submission.missing),
            **{k: facts[k] for k in ("layout", "cells", "rows_apart", "controls_ignored", "genes_ignored", "unknown")},
        },
        "notes": notes,
        "computed": summary.computed,
        "reused": summary.reused,
        "failed": len(summary.failed),
        "leaderboard": str(results / "leaderboard.md"),
        "records": str(results / "records.parquet"),
        "jobs": sorted(summary.cards, key=lambda c: c["score_id"]),
    }
