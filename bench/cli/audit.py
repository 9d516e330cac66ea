"""``pbench audit``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from ..contracts import registry
from ..contracts.errors import UsageError
from ..contracts.model import Capabilities
from ..contracts.split import SplitManifest
from ..engine.apart import apart
from ..engine.audit import audit as find
from ..engine.audit import to_dict
from ..engine.plan import Request
from ..engine.stage import DatasetRequest, make_splits
from .options import dataset_requests, file_options, json_option, load_plugins, plugin_option
from .requests import split_requests


@dataclass(frozen=True)
class Asked:
    """Splits to check, with the data set that they are of and what a model declares, where they were named."""

    splits: tuple[Request | Path, ...]
    dataset: DatasetRequest | None
    capabilities: Capabilities | None
    plugins: tuple[str, ...]


def audited(asked: Asked) -> list[dict[str, Any]]:
    """The findings on each split; to be called in a process of its own, since it reads files."""
    from ..engine.worker import load_plugins as register

    register(asked.plugins)
    screen: Any = None
    data_id = ""
    if asked.dataset is not None:
        source = asked.dataset.dataset()
        screen, data_id = source.load(), source.data_id()
    report = []
    for one in asked.splits:
        made = (SplitManifest.load(one),) if isinstance(one, Path) else make_splits(one, screen, data_id)
        for manifest in made:
            found = to_dict(find(manifest, screen, capabilities=asked.capabilities))
            report.append({"split": manifest.name, "fold": manifest.fold, "id": manifest.id, **found})
    return report


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
    found = load_plugins(plugins)
    wanted = split_requests(split)
    if dataset is None and not all(isinstance(w, Path) for w in wanted):
        raise UsageError(f"audit {split}: name the data set too, such as --dataset norman-sim, or give a manifest file.")
    capabilities = None if model is None else registry.models.get(model).capabilities
    source = None if dataset is None else dataset_requests(dataset, file)[0]
    report = apart(audited, Asked(tuple(wanted), source, capabilities, found), f"{dataset or split} could not be read")
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        for entry in report:
            click.echo(f"{entry['split']} fold {entry['fold']} ({entry['id'][:12]}): {entry['status']}\n")
            rows = [[f["rule"], f["status"], f["name"], f["detail"]] for f in entry["findings"]]
            click.echo(tabulate(rows, ["rule", "status", "name", "detail"], maxcolwidths=[None, None, 36, 70]) + "\n")
    return 1 if any(e["status"] == "fail" for e in report) else 0
