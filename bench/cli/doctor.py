"""``pbench doctor``."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from ..contracts import registry
from ..engine.folders import cache_folder
from ..engine.repair import PUT_ASIDE, Repaired, repair
from ..engine.survey import Finding, survey_cache, survey_results
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


@click.command(short_help="Report versions, folders, plugins and damaged results; --repair puts these aside.")
@click.option("--repair", "mend", is_flag=True, help="Move what is damaged or left over into quarantine/; nothing is deleted.")
@click.option(
    "--cache/--no-cache", "with_cache", default=True, show_default=True, help="Also read every file of the cache and compare it."
)
@plugin_option
@results_option
@json_option
def doctor(mend: bool, with_cache: bool, plugins: tuple[str, ...], results: Path, as_json: bool) -> int:
    """Report what pbench runs on and what is wrong with it; exit with 1 if a plugin, a result or the cache is damaged.

    Records, archives, manifests and the cache are read as a whole, and what is damaged is named with the reason. With --repair it
    is moved into a folder quarantine/ beside it, with a note of when, from where and why, and the next run makes it again; then
    the exit code is 1 only if something is left that cannot be repaired. Folders of bundles are only reported.

    \b
    Examples:
      pbench doctor
      pbench doctor --results results --json
      pbench doctor --repair --results results
    """
    from ...datasets.folder import data_folder

    load_plugins(plugins)
    cache = cache_folder()
    facts: dict[str, Any] = {"python": f"{platform.python_version()} at {sys.executable}", "platform": platform.platform()}
    facts["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts["packages"] = {p: _version(p) for p in PACKAGES}
    for label, folder in (("data folder", data_folder()), ("cache folder", cache), ("results", results.resolve())):
        facts[label] = f"{folder} ({_free(folder)})"
    for kind, entries in registry.REGISTRIES.items():
        usable(entries)
        facts[kind] = len(entries.names())
    broken = {f"{r.kind} {n}": why for r in registry.REGISTRIES.values() for n, why in r.broken.items()}
    found = survey_results(results) + (survey_cache(cache) if with_cache else [])
    facts |= {"broken plugins": broken, "damaged records": [str(f.path) for f in found if f.kind == "record"]}
    moved: list[Repaired] = []
    if mend:
        # What is moved is told below, in order.
        logging.getLogger("pbench").setLevel(logging.ERROR)
        moved = repair(found, results, cache)
    left = [f for f in found if f.is_defect and not (mend and f.kind in PUT_ASIDE)]
    if as_json:
        facts["findings"] = [{"kind": f.kind, "path": str(f.path), "why": f.why, "defect": f.is_defect} for f in found]
        facts["repaired"] = [{"path": str(m.path), "to": str(m.to), "why": m.why} for m in moved]
        click.echo(json.dumps(facts, indent=1))
    else:
        for key, value in facts.items():
            click.echo(f"{key}: {_shown(value)}")
        _tell(found, moved, mend, results)
    return 1 if broken or left else 0


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        value = ", ".join(f"{k} {v}" for k, v in value.items())
    elif isinstance(value, list):
        value = ", ".join(value)
    return value if value != "" else "none"


def _tell(found: list[Finding], moved: list[Repaired], mend: bool, results: Path) -> None:
    """What was found, what was done, and what to type next."""
    for one in sorted(found, key=lambda f: not f.is_defect):
        click.echo(f"{one.kind}: {one}")
    for one in moved:
        click.echo(f"moved: {one.path} to {one.to}")
    lost = {f.kind for f in found if f.is_defect} - {"left over", "rows without a card", "bundle"}
    if mend and not moved:
        click.echo("There was nothing to repair.")
    elif mend:
        again = " Type the same pbench run again: it makes what was damaged, and nothing else." if lost else ""
        click.echo(f"{len(moved)} thing(s) were moved into quarantine; what is whole was left alone.{again}")
    elif any(f.is_defect and f.kind in PUT_ASIDE for f in found):
        click.echo(
            "What is damaged counts as missing: the same pbench run makes it again. To put it aside, type: "
            f"pbench doctor --repair --results {results}"
        )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _free(folder: Path) -> str:
    existing = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    state = "there" if folder.exists() else "not made yet"
    return f"{state}, {shutil.disk_usage(existing).free / 2**30:.0f} GiB free"
