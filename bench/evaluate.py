"""Predictions in memory scored against a screen in memory: what ``pbench score`` does, from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli.progress import Silent
from .cli.requests import controls_of, model_requests, parse_metrics, split_requests
from .cli.score import TRAINED, checked_name, submission_request
from .contracts import registry
from .contracts.errors import DataError, UsageError, suggestion
from .contracts.split import SplitManifest
from .engine.execute import execute_here
from .engine.plan import Request
from .engine.run import Matrix, Summary, run_matrix
from .engine.stage import DatasetRequest
from .engine.store import Store
from .engine.submission import MIN_CELLS, SubmissionRequest, check_label, prepare_submission
from .engine.submission_layouts import Reading
from .tidy import tidy
from .workspace import spoken, workspace, written

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

#: Argument that stands for an option of the command line.
ARGUMENTS = {
    "scale": "true_scale",
    "perturbation-key": "perturbation_key",
    "control-label": "control_label",
    "separator": "separator",
    "context-key": "context_key",
    "dose-key": "dose_key",
    "time-key": "time_key",
    "layer": "layer",
    "prediction-scale": "pred_scale",
    "prediction-perturbation-key": "pred_perturbation_key",
    "prediction-control-label": "pred_control_label",
    "prediction-separator": "pred_separator",
    "prediction-context-key": "pred_context_key",
    "prediction-dose-key": "pred_dose_key",
    "prediction-time-key": "pred_time_key",
    "prediction-layer": "pred_layer",
    "prediction-gene-key": "pred_gene_key",
    "rows": "rows",
    "metrics": "metrics",
    "models": "baselines",
    "name": "model",
    "split": "split",
    "out": "results",
}


def evaluate(
    adata_true: AnnData,
    adata_pred: AnnData,
    *,
    true_scale: str,
    pred_scale: str,
    perturbation_key: str = "perturbation",
    control_label: str = "control",
    separator: str | None = "+",
    context_key: str | None = None,
    dose_key: str | None = None,
    time_key: str | None = None,
    layer: str | None = None,
    pred_perturbation_key: str | None = None,
    pred_control_label: str | None = None,
    pred_separator: str | None = None,
    pred_context_key: str | None = None,
    pred_dose_key: str | None = None,
    pred_time_key: str | None = None,
    pred_layer: str | None = None,
    pred_gene_key: str | None = None,
    rows: str | None = None,
    split: str | Path | SplitManifest | None = None,
    training: Iterable[str] | None = None,
    metrics: str | Sequence[str] = "headline",
    baselines: bool | str | Sequence[str] = True,
    model: str = "prediction",
    results: str | Path | None = None,
) -> pd.DataFrame:
    """Score predicted expression, perturbation by perturbation, beside the baselines that say what a number means.

    The numbers are those of ``pbench score``: the same code computes them. Perturbations and genes are joined by name, changes on
    both sides are measured against the control cells of `adata_true`, and no file is left behind.

    Parameters
    ----------
    adata_true
        Cells of the screen, controls among them: (cells, G).
    adata_pred
        Predicted cells, or one row for each perturbation. Every gene of `adata_true` must be there, in any order. Control rows are
        ignored.
    true_scale
        What the values of the truth are: ``counts``, ``log1p_1e4`` (natural log of 1 + counts per 10,000) or ``raw``; never guessed.
    pred_scale
        The same of the predictions; also ``delta``, means of changes against control.
    perturbation_key, control_label, separator
        Column of obs with labels, the label of control cells, and what joins the targets of a combination; None where every label is
        one target.
    context_key, dose_key, time_key
        Columns with the cell line, cell type or donor, with doses, and with hours.
    layer
        Layer of `adata_true` instead of X.
    pred_perturbation_key, pred_control_label, pred_separator, pred_context_key, pred_dose_key, pred_time_key
        The same in `adata_pred`, where it differs. ``pred_separator="none"``: every label is one target.
    pred_layer, pred_gene_key
        Layer of `adata_pred` instead of X, and column of its var with gene names instead of the index.
    rows
        What a row of `adata_pred` is, ``cells`` or ``means``; only needed where perturbations have several rows, but fewer than 10.
    split
        What is test and what was training: the name of a registered split with parameters, a manifest, or its file. A manifest is
        applied by the names of its conditions.
    training
        Labels that the predictions were made from, if there is no split; every other perturbation is test.
        Without `split` and `training` everything is test, and metrics and baselines that are made from training are left out or
        undefined with a reason.
    metrics
        A profile (``headline``, ``full``, ``vcc``, …) or ids.
    baselines
        True for the controls that ``pbench score`` adds, False for none, or names of models such as ``["additive", "no-change"]``.
    model
        Name of the predictions in the table.
    results
        Folder that keeps the records for ``pbench leaderboard``; by default nothing is kept.

    Returns
    -------
    A tidy frame, one row for each model, split, fold, perturbation and metric; its columns are `tidy.COLUMNS`. ``frame.attrs["notes"]``
    lists what should be known of the predictions: what is missing, what was ignored.

    Raises
    ------
    UsageError
        If something has to be said first: an unknown name, a scale, a column.
    DataError
        If the values contradict what was declared, or nothing can be joined.

    References
    ----------
    The layout is the one that https://github.com/scverse/pertpy/issues/1035 asks for: true and predicted AnnData in, a tidy table over
    models, metrics and splits out.
    """
    given = {
        "scale": pred_scale,
        "perturbation_key": pred_perturbation_key or perturbation_key,
        "control_label": pred_control_label or control_label,
        "separator": pred_separator or ("none" if separator is None else separator),
        "context_key": pred_context_key or context_key,
        "dose_key": pred_dose_key or dose_key,
        "time_key": pred_time_key or time_key,
    }
    options = {
        "scale": true_scale,
        "perturbation_key": perturbation_key,
        "control_label": control_label,
        "separator": separator,
        "context_key": context_key,
        "dose_key": dose_key,
        "time_key": time_key,
    }
    if split is not None and training is not None:
        raise UsageError("split says what was training; leave out training, or split.")
    if rows not in (None, "cells", "means"):
        raise UsageError(f"rows={rows!r} is unknown. {suggestion(str(rows), ['cells', 'means'])}")
    with spoken(ARGUMENTS), workspace() as folder:
        chosen = parse_metrics(listed(metrics))
        label = checked_name(model)
        truth = held_dataset(adata_true, folder / "adata_true.h5ad", options, layer)
        columns = [given["perturbation_key"], given["context_key"], given["dose_key"], given["time_key"]]
        path = written(adata_pred, folder / "adata_pred.h5ad", columns, layer=pred_layer, names=pred_gene_key)
        data_id = truth.dataset().data_id()
        submission = prepare_submission(
            SubmissionRequest(
                path,
                Reading(rows=rows, **given),
                truth,
                data_id,
                wanted_splits(split, training, truth, folder),
                any({"cells", "variance"} & set(registry.metrics.get(m).needs) for m in chosen),
            )
        )
        out = folder / "results" if results is None else Path(results).expanduser().resolve()
        check_label(Store(out), label, submission)
        matrix = Matrix(
            models=[submission_request(submission, label), *_baselines(baselines, chosen, stated=bool(split or training))],
            datasets=[truth],
            splits=submission.splits,
            seeds=(0,),
            metrics=chosen,
            out=out,
        )
        return tabulated(run_matrix(matrix, Silent(), execute=execute_here), out, submission.notes)


def listed(names: str | Sequence[str]) -> str:
    """Names as one comma list."""
    return names if isinstance(names, str) else ",".join(names)


def held_dataset(adata: AnnData, path: Path, options: dict[str, Any], layer: str | None) -> DatasetRequest:
    """The request for a screen in memory, once what is read of it lies at `path`."""
    columns = [options[k] for k in ("perturbation_key", "context_key", "dose_key", "time_key")]
    return DatasetRequest(path.stem, str(written(adata, path, columns, layer=layer)), options)


def wanted_splits(
    split: str | Path | SplitManifest | None, training: Iterable[str] | None, truth: DatasetRequest, folder: Path
) -> list[Request | Path]:
    """What is test and what is training, as the engine takes it; nothing where nobody has said it.

    Raises
    ------
    UsageError
        If a label of `training` is not in the truth.
    DataError
        If a manifest cannot be read, or nothing is left to score.
    """
    if training is not None:
        manifest = _stated(training, truth)
    elif isinstance(split, SplitManifest):
        manifest = split
    elif isinstance(split, Path) or (isinstance(split, str) and (split.endswith(".json") or "/" in split)):
        manifest = SplitManifest.load(Path(split).expanduser())
    else:
        return split_requests(split)
    # The user says by giving it that it is of these data, whose bytes have no file of their own here.
    path = folder / "split.json"
    replace(manifest, dataset=truth.name, data_id=truth.dataset().data_id()).save(path)
    return [path]


def _stated(training: Iterable[str], truth: DatasetRequest) -> SplitManifest:
    from ..datasets.labels import canonical, joined
    from ..datasets.splits.folds import Fold, manifests

    options = truth.options or {}
    parse = joined(options["separator"], control=options["control_label"])
    labels = [training] if isinstance(training, str) else [str(t) for t in training]
    asked = {canonical(label, parse, where="training"): label for label in labels}
    screen = truth.dataset().load()
    known = {c.label for c in screen.perturbed}
    if unknown := [label for name, label in asked.items() if name not in known and parse(label)]:
        raise UsageError(f"training names '{unknown[0]}', which adata_true does not have. {suggestion(unknown[0], known)}")
    roles = {c: "train" if c.label in asked else "test" for c in screen.perturbed}
    if set(roles.values()) != {"train", "test"}:
        lacking = "no perturbation is left to score" if "train" in roles.values() else "it names no perturbation"
        raise DataError(f"training: {lacking}; name those that the predictions were made from, and no others.")
    params = {"n": sum(role == "train" for role in roles.values())}
    return manifests(screen, [Fold(roles)], data_id="", split="stated", params=params, min_cells=MIN_CELLS, version=1)[0]


def _baselines(asked: bool | str | Sequence[str], metrics: Sequence[str], *, stated: bool) -> list[Request]:
    if isinstance(asked, bool):
        return [Request(name) for name in controls_of(metrics) if asked and (stated or name not in TRAINED)]
    if not asked:
        return []
    found = model_requests(listed(asked))
    free = [name for name in controls_of(metrics) if name not in TRAINED]
    if not stated and (learning := [r.name for r in found if r.name not in free]):
        raise UsageError(
            f"baselines: '{learning[0]}' learns from training, and nobody has said what was in it. Name split or training, or only "
            f"baselines that need none: {', '.join(free)}."
        )
    return found


def tabulated(summary: Summary, out: Path, notes: Sequence[str]) -> pd.DataFrame:
    """The tidy frame of what was run.

    Raises
    ------
    DataError
        If a model could not take part at all.
    """
    if out_of_reach := [c for c in summary.cards if c["status"] != "ok"]:
        raise DataError(f"{out_of_reach[0]['model']}: {out_of_reach[0]['reason']}")
    order = {c["model"]: i for i, c in enumerate(summary.cards)}
    frame = tidy(Store(out).rows(sorted(summary.cards, key=lambda c: (order[c["model"]], c["spec"]["fold"], c["spec"]["seed"]))))
    frame.attrs["notes"] = list(notes)
    return frame
