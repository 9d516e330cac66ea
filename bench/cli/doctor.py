"""``pbench doctor``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from ..contracts import registry
from ..engine.folders import cache_folder
from ..engine.store import Store
from .options import json_option, load_plugins, plugin_option, results_option, usable

PACKAGES = (
    "pbench",
    "numpy",
    "scipy",
    "pandas",
    "anndata",
    "scikit-learn",
    "pyarrow",
    "click",
    "rich",
    "pooch",
    "tabulate",
    "torch",
    "scanpy",
    "pertpy",
)


@click.command(short_help="Report versions, folders, plugins and damaged records.")
@plugin_option
@results_option
@json_option
def doctor(plugins: tuple[str, ...], results: Path, as_json: bool) -> int:
    """Report what pbench runs on and what is wrong with it; exit with 1 if a plugin or a record is broken.

    \b
    Examples:
      pbench doctor
      pbench doctor --results results --json
    """
    from ...datasets.folder import data_folder

    load_plugins(plugins)
    facts: dict[str, Any] = {"python": f"{platform.python_version()} at {sys.executable}", "platform": platform.platform()}
    facts["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts["packages"] = {p: _version(p) for p in PACKAGES}
    for label, folder in (("data folder", data_folder()), ("cache folder", cache_folder()), ("results", results.resolve())):
        facts[label] = f"{folder} ({_free(folder)})"
    for kind, entries in registry.REGISTRIES.items():
        usable(entries)
        facts[kind] = len(entries.names())
    broken = {f"{r.kind} {n}": why for r in registry.REGISTRIES.values() for n, why in r.broken.items()}
    damaged = [str(p) for p in Store(results).damaged()]
    facts |= {"broken plugins": broken, "damaged records": damaged}
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        for key, value in facts.items():
            shown = (
                ", ".join(f"{k} {v}" for k, v in value.items())
                if isinstance(value, dict)
                else ", ".join(value)
                if isinstance(value, list)
                else value
            )
            click.echo(f"{key}: {shown if shown != '' else 'none'}")
        if damaged:
            click.echo("A damaged record counts as missing: the next run computes it again.")
    return 1 if broken or damaged else 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _free(folder: Path) -> str:
    existing = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    state = "there" if folder.exists() else "not made yet"
    return f"{state}, {shutil.disk_usage(existing).free / 2**30:.0f} GiB free"
