"""``pbench list`` and ``pbench show``."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from ..contracts import registry
from ..contracts.errors import UsageError, suggestion
from ..contracts.model import Capabilities, parameters
from .options import dataset_requests, file_options, json_option, load_plugins, plugin_option


@click.command("list", short_help="List models, data sets, splits and metrics.")
@click.argument("kind", required=False)
@click.option(
    "--write",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    help="For metrics: write a page for each family, with formulas and pitfalls, into this folder.",
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
    """
    load_plugins(plugins)
    kinds = list(registry.REGISTRIES)
    if kind is not None:
        kind = kind if kind.endswith("s") else f"{kind}s"
        if kind not in kinds:
            raise UsageError(f"there is no list of '{kind}'. {suggestion(kind, kinds)}")
        kinds = [kind]
    if target is not None:
        return _write_pages(kind, target)
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
    from .catalogue import pages

    if kind != "metrics":
        raise UsageError("--write writes the pages of metrics. Type: pbench list metrics --write DIR")
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages(FAMILIES, PROFILES).items():
        (target / name).write_text(text)
        click.echo(target / name)
    return 0


def _short(text: str) -> str:
    return textwrap.shorten(text, 90, placeholder=" …")


@click.command(short_help="Show everything about one model, data set, split or metric.")
@click.argument("name")
@click.option("--dataset", help="For a split: make it for this data set.")
@click.option(
    "--manifest",
    "target",
    type=click.Path(path_type=Path),
    help="With --dataset: write the split's manifest files into this folder.",
)
@file_options
@plugin_option
@json_option
def show(name: str, dataset: str | None, target: Path | None, plugins: tuple[str, ...], as_json: bool, **file: Any) -> int:
    """Show the card of a model, data set, split or metric; or make a split for a data set and show its roles.

    \b
    Examples:
      pbench show additive
      pbench show norman-mini
      pbench show 'pearson_delta@de20~pert'
      pbench show doubles --dataset norman-sim --manifest splits/
    """
    load_plugins(plugins)
    if dataset is not None:
        facts = _split_facts(name, dataset, file, target)
    else:
        homes = [k for k, r in registry.REGISTRIES.items() if name in r]
        if not homes:
            every = [n for r in registry.REGISTRIES.values() for n in r]
            raise UsageError(f"nothing is named '{name}'. {suggestion(name, every)} Type: pbench list")
        facts = {}
        for home in homes:
            entry = registry.REGISTRIES[home].entry(name)
            facts |= {
                "kind": home[:-1],
                "name": name,
                "summary": entry.summary,
                "origin": entry.origin,
                "defined in": entry.target,
            }
            facts |= _DESCRIBE[home](registry.REGISTRIES[home].get(name))
    if as_json:
        click.echo(json.dumps(facts, indent=1, default=str))
    else:
        click.echo(
            tabulate(
                [[k, _wrapped(v)] for k, v in facts.items() if v not in ("", None, [], ())],
                tablefmt="plain",
                disable_numparse=True,
            )
        )
    return 0


def _wrapped(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{k}={v}" for k, v in value.items())
    elif isinstance(value, list | tuple):
        value = "; ".join(map(str, value))
    return textwrap.fill(str(value), 96)


def _model(cls: type) -> dict[str, Any]:
    capabilities = asdict(getattr(cls, "capabilities", Capabilities()))
    doc = (cls.__doc__ or "").strip().split("\n\n")[0]
    return {
        "description": " ".join(doc.split()),
        "parameters": parameters(cls),
        "presets": sorted({"standard", *getattr(cls, "presets", {})}),
        **{k.replace("_", " "): v for k, v in capabilities.items()},
        "reference": getattr(cls, "reference", ""),
    }


def _dataset(value: Any) -> dict[str, Any]:
    if not hasattr(value, "card"):
        return {"description": "Options: " + ", ".join(n for n in parameters_of(value))}
    return {k.replace("_", " "): v for k, v in value.card.to_dict().items()} | {"file": value.file}


def _split(function: Any) -> dict[str, Any]:
    doc = (function.__doc__ or "").strip().split("\n\n")[0]
    return {"description": " ".join(doc.split()), "parameters": parameters_of(function)}


def parameters_of(function: Any) -> dict[str, Any]:
    """Keyword parameters of a function with their defaults."""
    import inspect

    found = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY and p.name != "data_id"}


def _metric(info: Any) -> dict[str, Any]:
    return {k: v for k, v in info.__dict__.items() if k not in ("function", "id")}


_DESCRIBE = {"models": _model, "datasets": _dataset, "splits": _split, "metrics": _metric}


def _split_facts(name: str, dataset: str, file: dict[str, Any], target: Path | None) -> dict[str, Any]:
    from ..engine.plan import parse_requests
    from ..engine.stage import make_splits

    request = dataset_requests(dataset, file)[0]
    source = request.dataset()
    wanted = parse_requests(name, registry.splits.names(), kind="split")[0]
    manifests = make_splits(wanted, source.load(), source.data_id())
    facts: dict[str, Any] = {"split": str(wanted), "data set": request.name, "folds": len(manifests)}
    for manifest in manifests:
        counts = {role: len(manifest.with_role(role)) for role in ("train", "validation", "test", "excluded")}
        facts[f"fold {manifest.fold}"] = {"id": manifest.id[:12], **counts}
        if target is not None:
            target.mkdir(parents=True, exist_ok=True)
            path = target / f"{request.name}-{manifest.split}-{manifest.id[:12]}.json"
            manifest.save(path)
            facts[f"file {manifest.fold}"] = str(path)
    return facts
