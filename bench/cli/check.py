"""``pbench check``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..contracts import registry
from ..contracts.errors import UsageError, suggestion
from ..engine.execute import Outcome, execute
from ..engine.stage import DatasetRequest
from .options import dataset_requests, file_options, json_option, load_plugins, plugin_option

KINDS = tuple(kind.removesuffix("s") for kind in registry.REGISTRIES)
#: Seconds for all checks: a data set is loaded twice, and may be large.
TIMEOUT, DATASET_TIMEOUT = 120.0, 900.0


@dataclass(frozen=True)
class Subject:
    """What is checked, said so that a process of its own finds it again.

    Parameters
    ----------
    kind, name
        Registry (``models``, …) and name in it.
    plugins
        Python files that register it.
    folder, target
        Folder of a package and ``module:attribute`` in it, where it is not registered.
    request
        Of a data set that is a file, or generated with parameters.
    """

    kind: str
    name: str
    plugins: tuple[str, ...] = ()
    folder: str = ""
    target: str = ""
    request: DatasetRequest | None = None


@click.command(short_help="Check a model, data set, metric or split of yours against its contract, in plain words.")
@click.argument("name", metavar="NAME|FILE|FOLDER")
@click.option("--kind", type=click.Choice(KINDS), help="Which of them, where several have the name.")
@click.option("--timeout", type=float, help="Seconds for all checks.", show_default=f"{TIMEOUT:g}; data sets {DATASET_TIMEOUT:g}")
@file_options
@plugin_option
@json_option
def check(name: str, kind: str | None, timeout: float | None, plugins: tuple[str, ...], as_json: bool, **file: Any) -> int:
    """Run the conformance kit on something registered, on a Python file, on the folder of a package, or on an .h5ad.

    Exits with 1 if a check fails.

    \b
    Examples:
      pbench check additive
      pbench check ./my_model.py
      pbench check ./my-package
      pbench check norman-sim
      pbench check mse@all --json
      pbench check doubles --kind split
      pbench check my.h5ad --scale counts --perturbation-key gene --control-label NT
      pbench check my-model --plugin my_model.py
    """
    subjects = _subjects(name, plugins, file)
    if kind is not None:
        kept = [s for s in subjects if s.kind == f"{kind}s"]
        if not kept:
            found = ", ".join(dict.fromkeys(s.kind.removesuffix("s") for s in subjects))
            raise UsageError(f"{name} is no {kind}, but: {found}. Type: pbench list {kind}s")
        subjects = kept
    limit = timeout or max(DATASET_TIMEOUT if s.kind == "datasets" else TIMEOUT for s in subjects)
    verdicts: dict[int, list[tuple[str, str]]] = {}
    for outcome in execute(_run, subjects, workers=1, timeout=limit):
        verdicts[outcome.key] = _verdicts(outcome)
    report = [
        {
            "kind": s.kind.removesuffix("s"),
            "name": s.name,
            "passed": not any(problem for _, problem in verdicts[i]),
            "checks": [{"check": title, "problem": problem} for title, problem in verdicts[i]],
        }
        for i, s in enumerate(subjects)
    ]
    failed = sum(bool(c["problem"]) for r in report for c in r["checks"])
    if as_json:
        click.echo(json.dumps({"failed": failed, "checked": report}, indent=1))
    else:
        for r in report:
            click.echo(f"{r['kind']} {r['name']}\n")
            for c in r["checks"]:
                problem = f"\n        {c['problem']}" if c["problem"] else ""
                click.echo(f"  {'FAIL' if problem else 'ok  '}  {c['check']}{problem}")
            click.echo("")
        click.echo("Every check passed." if not failed else f"{failed} check(s) failed.")
    return 1 if failed else 0


def _subjects(name: str, plugins: tuple[str, ...], file: dict[str, Any]) -> list[Subject]:
    path = Path(name).expanduser()
    if name.endswith(".py"):
        files, origin = load_plugins((*plugins, name)), f"file {path.name}"
        return [
            Subject(k, n, files) for k, r in registry.REGISTRIES.items() for n, e in r.entries().items() if e.origin == origin
        ]
    files = load_plugins(plugins)
    if name.endswith((".h5ad", ".h5")) or "[" in name:
        return [Subject("datasets", r.name, files, request=r) for r in dataset_requests(name, file, option="check")]
    if path.is_dir() and not _registered(name):
        from ..engine.plugin_folder import entry_points

        folder = path.resolve()
        return [
            Subject(k, n, files, str(folder), target) for k, named in entry_points(folder).items() for n, target in named.items()
        ]
    found = [Subject(k, name, files) for k in _registered(name)]
    if not found:
        every = [n for entries in registry.REGISTRIES.values() for n in entries]
        broken = [f"{r.kind} '{name}' is broken: {r.broken[name]}. " for r in registry.REGISTRIES.values() if name in r.broken]
        raise UsageError(f"nothing is named '{name}'. {''.join(broken)}{suggestion(name, every)} Type: pbench list")
    return found


def _registered(name: str) -> list[str]:
    return [kind for kind, entries in registry.REGISTRIES.items() if name in entries and name != "your.h5ad"]


def _verdicts(outcome: Outcome) -> list[tuple[str, str]]:
    return outcome.value if outcome.status == "ok" else [("the checks end", outcome.reason)]


def _run(subject: Subject) -> list[tuple[str, str]]:
    from ..contracts.errors import PbenchError
    from ..engine.conformance import verdicts_on
    from ..engine.plugin_folder import load, register

    for file in subject.plugins:
        registry.load_plugin_file(file)
    try:
        if subject.folder:
            thing = load(Path(subject.folder), subject.kind, subject.name, subject.target)
            register(Path(subject.folder))
        elif subject.request is not None:
            thing = subject.request.dataset()
        else:
            thing = registry.REGISTRIES[subject.kind].get(subject.name)
    except PbenchError as error:
        return [("it can be imported", str(error))]
    return [(v.check, v.problem) for v in verdicts_on(thing, subject.kind)]
