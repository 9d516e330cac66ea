"""``pbench audit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from ..contracts import registry
from ..contracts.errors import UsageError
from ..contracts.split import SplitManifest
from ..engine.audit import audit as find
from ..engine.audit import to_dict
from ..engine.stage import make_splits
from .options import dataset_requests, file_options, json_option, load_plugins, plugin_option
from .requests import split_requests


@click.command(short_help="Check a split for leaks of test information into training.")
@click.argument("split")
@click.option("--dataset", help="Data set to audit the split on; a manifest file can be audited without.")
@click.option("--model", help="Also check what this model declares (pretraining overlap).")
@file_options
@plugin_option
@json_option
def audit(split: str, dataset: str | None, model: str | None, plugins: tuple[str, ...], as_json: bool, **file: Any) -> int:
    """Check a split, by name or manifest file, against the leakage rules; exit with 1 if a rule fails.

    \b
    Examples:
      pbench audit doubles --dataset norman-sim
      pbench audit splits/my-split.json
      pbench audit unseen-single --dataset norman-mini --model additive --json
    """
    load_plugins(plugins)
    capabilities = None if model is None else registry.models.get(model).capabilities
    wanted = split_requests(split)
    screen, manifests = None, []
    if dataset is not None:
        source = dataset_requests(dataset, file)[0].dataset()
        screen, data_id = source.load(), source.data_id()
        for one in wanted:
            manifests += [SplitManifest.load(one)] if isinstance(one, Path) else make_splits(one, screen, data_id)
    elif all(isinstance(w, Path) for w in wanted):
        manifests = [SplitManifest.load(w) for w in wanted if isinstance(w, Path)]
    else:
        raise UsageError(f"audit {split}: name the data set too, such as --dataset norman-sim, or give a manifest file.")
    report = []
    for manifest in manifests:
        found = to_dict(find(manifest, screen, capabilities=capabilities))
        report.append({"split": manifest.name, "fold": manifest.fold, "id": manifest.id, **found})
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        for entry in report:
            click.echo(f"{entry['split']} fold {entry['fold']} ({entry['id'][:12]}): {entry['status']}\n")
            rows = [[f["rule"], f["status"], f["name"], f["detail"]] for f in entry["findings"]]
            click.echo(tabulate(rows, ["rule", "status", "name", "detail"], maxcolwidths=[None, None, 36, 70]) + "\n")
    return 1 if any(e["status"] == "fail" for e in report) else 0
