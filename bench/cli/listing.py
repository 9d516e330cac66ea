"""``pbench list``."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path

import click
from tabulate import tabulate

from ..contracts import registry
from ..contracts.errors import UsageError, suggestion
from .options import json_option, load_plugins, plugin_option, usable


@click.command("list", short_help="List models, data sets, splits and metrics.")
@click.argument("kind", required=False)
@click.option(
    "--write",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write pages into this folder: one for each entry of the kind; for metrics one for each family; without a kind all of the reference.",
)
@plugin_option
@json_option
def list_(kind: str | None, target: Path | None, plugins: tuple[str, ...], as_json: bool) -> int:
    """List what is registered, with its origin, and plugins that are broken.

    \b
    Examples:
      pbench list
      pbench list models
      pbench list metrics --json
      pbench list metrics --write docs/metrics
      pbench list models --write models/
      pbench list --write reference/
    """
    load_plugins(plugins)
    kinds = list(registry.REGISTRIES)
    if kind is not None:
        if kind not in kinds and f"{kind}s" not in kinds:
            raise UsageError(f"there is no list of '{kind}'. {suggestion(kind, kinds)}")
        kind = kind if kind in kinds else f"{kind}s"
        kinds = [kind]
    if target is not None:
        return _write_pages(kind, target)
    for k in kinds:
        # Plugins are imported here, so that a broken one is named where people look first.
        usable(registry.REGISTRIES[k])
    found = {k: [asdict(e) for e in registry.REGISTRIES[k].entries().values()] for k in kinds}
    broken = {k: registry.REGISTRIES[k].broken for k in kinds if registry.REGISTRIES[k].broken}
    if as_json:
        click.echo(json.dumps({**found, "broken": broken}, indent=1))
        return 0
    for k in kinds:
        click.echo(f"{k}\n")
        rows = [
            [e["name"], _short(e["summary"]), e["origin"] + (f", group {e['group']}" if e["group"] else "")] for e in found[k]
        ]
        click.echo(tabulate(rows, ["name", "what it is", "origin"], disable_numparse=True) + "\n")
        for suffix, (_, summary) in registry.REGISTRIES[k].variants().items():
            click.echo(f"NAME+{suffix}: any of these. {summary}\n")
        for name, reason in broken.get(k, {}).items():
            click.echo(f"broken: {name}: {reason}")
    return 0


def _write_pages(kind: str | None, target: Path) -> int:
    from ...metrics import FAMILIES, PROFILES
    from .catalogue import pages as families
    from .pages import pages, reference, write

    texts = reference() if kind is None else families(FAMILIES, PROFILES) if kind == "metrics" else pages(kind)
    for path in write(texts, target):
        click.echo(path)
    return 0


def _short(text: str) -> str:
    return textwrap.shorten(text, 90, placeholder=" …")
