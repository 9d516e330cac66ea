"""``pbench submit``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts.errors import DataError, UsageError
from ..engine.stage import DatasetRequest
from .options import dataset_requests, file_options, json_option, load_plugins, plugin_option, results_option
from .progress import Silent, make_reporter

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.bundle_predictions import Archived
    from ..engine.bundle_write import Selected


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--data`` and the options that say how to read a file, for data sets that are not registered."""
    return click.option(
        "--data",
        metavar="FILE",
        help="The .h5ad or .zarr of the data set, where it is not registered (say how to read it as for pbench run).",
    )(file_options(function))


def data_of(name: str, data: str | None, given: Mapping[str, Any]) -> DatasetRequest:
    """The data set that records are of, by its name or from a file.

    Raises
    ------
    DataError
        If there is none of that name.
    """
    try:
        (request,) = dataset_requests(name if data is None else data, dict(given), option="--data")
    except UsageError as error:
        if data is not None:
            raise
        raise DataError(f"data set '{name}' is not registered here ({error}) Give its file with --data FILE.") from error
    return request if data is None else DatasetRequest(name, request.path, request.options)


@click.command(short_help="Write results of one data set and split as a bundle that others can check.")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--dataset", help="Data set of the records. Default: the only one.")
@click.option("--split", help="Split of the records, with or without its parameters. Default: the only one.")
@click.option("--models", default="*", help="Only these models, as boards name them (globs and commas allowed).")
@click.option("--name", help="Name of the bundle. Default: that of its folder.")
@click.option("--note", default="", help="A remark for readers: how the predictions were made, where the model is.")
@click.option(
    "--predictions/--no-predictions", default=True, show_default=True, help="Include predicted pseudobulks, to be scored again."
)
@click.option(
    "--shifts/--no-shifts",
    default=True,
    show_default=True,
    help="Include the true and predicted changes of the genes that change most, which needs the data set.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@data_option
@plugin_option
@results_option
@json_option
def submit(
    out: Path,
    dataset: str | None,
    split: str | None,
    models: str,
    name: str | None,
    note: str,
    predictions: bool,
    shifts: bool,
    quiet: bool,
    data: str | None,
    plugins: tuple[str, ...],
    results: Path,
    as_json: bool,
    **given: Any,
) -> int:
    """Write the records of a data set and split that count on its boards to the folder OUT.

    The bundle holds run cards, all values, the split, and what is needed to score the predictions again. Failed jobs stay, since a
    failure is a result; records whose audit failed are refused. The same results give the same bytes. Predictions of yours
    are scored by pbench score first.

    \b
    Examples:
      pbench submit --dataset norman-mini --split doubles bundles/norman-mini
      pbench submit --models my-model --note 'https://example.org/my-model' my-bundle
      pbench score preds.h5ad --truth norman-sim --split doubles --name mine && pbench submit --models mine my-bundle
    """
    from ..engine.bundle import read_bundle
    from ..engine.bundle_write import select, write_bundle

    found = load_plugins(plugins)
    with make_reporter(quiet=quiet or as_json) as reporter:
        reporter.phase(f"reading {results}")
        selected = select(results, dataset, split, [m.strip() for m in models.split(",") if m.strip()])
        left_out = list(selected.left_out)
        changes = _shifts(results, selected, data, given, found, reporter, left_out) if shifts else None
        reporter.phase(f"writing {out}")
        write_bundle(results, out, name=name, note=note, predictions=predictions, shifts=changes, selected=selected)
    meta = read_bundle(out).meta
    report = {
        "bundle": str(out),
        "id": meta["id"],
        "dataset": selected.dataset,
        "split": selected.split,
        "models": meta["models"],
        "jobs": len(selected.cards),
        "failed": len(selected.failed),
        "files": len(meta["files"]) + 1,
        "bytes": sum(p.stat().st_size for p in out.rglob("*") if p.is_file()),
        "shifts": "shifts.parquet" in meta["files"],
        "left_out": left_out,
    }
    if as_json:
        click.echo(json.dumps(report, indent=1, sort_keys=True))
        return 0
    click.echo(
        f"{out}: {report['jobs']} job(s) of {len(meta['models'])} model(s) on {selected.dataset} / {selected.split}, "
        f"{report['failed']} of them without an answer; {report['files']} files, {report['bytes'] / 1e6:.1f} MB; id {meta['id'][:12]}."
    )
    click.echo("".join(f"Left out: {line}.\n" for line in left_out) + f"Check it with: pbench verify {out}", err=True)
    return 0


def _shifts(
    results: Path,
    selected: Selected,
    data: str | None,
    given: Mapping[str, Any],
    plugins: tuple[str, ...],
    reporter: Silent,
    left_out: list[str],
) -> pd.DataFrame | None:
    """Changes of the predictions that are archived; what cannot be read is named in `left_out`."""
    from ..engine.bundle import manifest_name, prediction_name
    from ..engine.bundle_predictions import read_archived
    from ..engine.restage import changes_here
    from ..engine.shifts import shifts

    jobs = {c["job_id"]: c for c in selected.cards if c["status"] == "ok" and c.get("predicts", True)}
    if not jobs:
        return None
    reporter.phase(f"reading {selected.dataset}")
    manifests = sorted({results / manifest_name(c["spec"]["split_id"]) for c in jobs.values()})
    try:
        request = data_of(selected.dataset, data, given)
        data_id = next(iter(jobs.values()))["spec"]["data_id"]
        changes = changes_here(request, data_id, manifests, plugins)
    except DataError as error:
        raise DataError(f"{error} Changes of genes need the data set; to bundle without them: --no-shifts") from error

    def prediction(job: str) -> Archived | None:
        card = jobs[job]
        try:
            archived = read_archived(results / prediction_name(job))
        except DataError as error:
            left_out.append(f"changes of {card['model']}, seed {card['spec']['seed']}: {error}")
            return None
        same = tuple(c.key for c in archived.conditions) == changes[card["spec"]["split_id"]].keys
        return archived if same else None

    return shifts(selected.cards, changes, prediction)
