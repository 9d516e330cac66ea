"""``pbench show``."""

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
from ..contracts.split import SplitManifest
from ..engine.apart import apart
from ..engine.plan import Request, parse_requests
from ..engine.stage import DatasetRequest
from .options import dataset_requests, file_options, json_option, load_plugins, plugin_option


@click.command(short_help="Show everything about one model, data set, split or metric.")
@click.argument("name")
@click.option("--dataset", help="For a split: make it for this data set.")
@click.option(
    "--manifest",
    "target",
    type=click.Path(path_type=Path),
    help="With --dataset: write the split's manifest files into this folder.",
)
@click.option(
    "--picture",
    "drawing",
    type=click.Path(dir_okay=False, path_type=Path),
    help="For a data set of images: write samples to this PNG file. Default: NAME.png in this folder.",
)
@click.option(
    "--difficulty",
    is_flag=True,
    help="For a simulated data set: also work out how hard its latent variables are to find (probes, floors).",
)
@file_options
@plugin_option
@json_option
def show(
    name: str,
    dataset: str | None,
    target: Path | None,
    drawing: Path | None,
    difficulty: bool,
    plugins: tuple[str, ...],
    as_json: bool,
    **file: Any,
) -> int:
    """Show the card of a model, data set, split or metric; or make a split for a data set and show its roles.

    A data set whose cells are images also writes a picture of samples.

    \b
    Examples:
      pbench show additive
      pbench show norman-mini
      pbench show 'pearson_delta@de20~pert'
      pbench show c3di-lite-temporal --picture scenes.png
      pbench show 'latent-temporal[mode=snapshot]' --difficulty
      pbench show doubles --dataset norman-sim --manifest splits/
    """
    found = load_plugins(plugins)
    if target is not None and dataset is None:
        raise UsageError("--manifest writes the split of a data set; name it too, such as --dataset norman-sim.")
    elsewhere = dataset is not None or any(name in r for r in registry.REGISTRIES.values())
    if (difficulty or drawing) and elsewhere and name.partition("[")[0] not in registry.datasets:
        raise UsageError(
            f"{'--difficulty' if difficulty else '--picture'} is for data sets, and '{name}' is none. Type: pbench list datasets"
        )
    if dataset is not None:
        facts = _split_facts(name, dataset, file, target, found)
    elif name.partition("[")[0] in registry.datasets and (name.endswith("]") or difficulty or drawing):
        facts = _dataset_facts(name, drawing, difficulty)
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
        if "datasets" in homes and getattr(registry.datasets.get(name), "picture", None):
            facts |= _pictured(registry.datasets.get(name), None)
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
    facts = {k.replace("_", " "): v for k, v in value.card.to_dict().items()} | {"file": value.file}
    return facts | ({"parameters": dict(value.parameters)} if getattr(value, "parameters", None) else {})


def _dataset_facts(name: str, drawing: Path | None, difficulty: bool) -> dict[str, Any]:
    """The card of a data set, of a generated one with its parameters, and what has to be worked out."""
    source = dataset_requests(name, {})[0].dataset()
    entry = registry.datasets.entry(name.partition("[")[0])
    facts = {"kind": "dataset", "name": name, "summary": entry.summary, "origin": entry.origin} | _dataset(source)
    if source.picture is not None:
        facts |= _pictured(source, drawing)
    elif drawing is not None:
        raise UsageError(f"--picture: data set '{name}' has no picture; its cells are no images.")
    if difficulty:
        from ...datasets.latent.difficulty import difficulty as measured

        screen = source.load()
        if screen.ground_truth is None:
            raise UsageError(f"--difficulty: the latent variables of '{name}' are not known; ask for it on simulated data sets.")
        facts |= {f"difficulty: {k}": v for k, v in measured(screen).items()}
    return facts


def _pictured(source: Any, drawing: Path | None) -> dict[str, Any]:
    path = drawing or Path(f"{source.card.name}.png")
    source.picture(path)
    return {"picture": str(path)}


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


def made_splits(asked: tuple[Request, DatasetRequest, tuple[str, ...]]) -> tuple[SplitManifest, ...]:
    """Manifests of a split of a data set; to be called in a process of its own, since it reads a file."""
    from ..engine.stage import make_splits
    from ..engine.worker import load_plugins as register

    wanted, request, plugins = asked
    register(plugins)
    source = request.dataset()
    return make_splits(wanted, source.load(), source.data_id())


def _split_facts(name: str, dataset: str, file: dict[str, Any], target: Path | None, plugins: tuple[str, ...]) -> dict[str, Any]:
    request = dataset_requests(dataset, file)[0]
    wanted = parse_requests(name, registry.splits.names(), kind="split")[0]
    manifests = apart(made_splits, (wanted, request, plugins), f"{dataset} could not be read")
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
