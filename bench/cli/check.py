"""``pbench check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..contracts import registry
from ..contracts.errors import UsageError
from ..engine.execute import execute
from .options import json_option, load_plugins, plugin_option


@click.command(short_help="Check a model of yours against the contract, in plain words.")
@click.argument("name")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for all checks.")
@plugin_option
@json_option
def check(name: str, timeout: float, plugins: tuple[str, ...], as_json: bool) -> int:
    """Run the conformance kit on a registered model or on a Python file with one; exit with 1 if a check fails.

    \b
    Examples:
      pbench check additive
      pbench check ./my_model.py
      pbench check my-model --plugin my_model.py
    """
    files = list(plugins)
    if name.endswith(".py"):
        files.append(name)
        before = set(registry.models)
        load_plugins((*plugins, name))
        names = [n for n in registry.models if n not in before]
        if not names:
            raise UsageError(f"{name} defines no class with fit and predict.")
    else:
        load_plugins(plugins)
        registry.models.entry(name)
        names = [name]
    paths = [str(Path(f).resolve()) for f in files]
    report: dict[str, Any] = {}
    outcomes = execute(_run, [(n, paths) for n in names], workers=1, timeout=timeout)
    for outcome in outcomes:
        report[names[outcome.key]] = outcome.value if outcome.status == "ok" else [["the checks end", outcome.reason]]
    failed = sum(bool(problem) for verdicts in report.values() for _, problem in verdicts)
    if as_json:
        click.echo(json.dumps({n: [{"check": c, "problem": p} for c, p in v] for n, v in report.items()}, indent=1))
    else:
        for model, verdicts in report.items():
            click.echo(f"{model}\n")
            for title, problem in verdicts:
                click.echo(f"  {'FAIL' if problem else 'ok  '}  {title}" + (f"\n        {problem}" if problem else ""))
            click.echo("")
        click.echo("Every check passed." if not failed else f"{failed} check(s) failed.")
    return 1 if failed else 0


def _run(argument: tuple[str, list[str]]) -> list[tuple[str, str]]:
    from ..engine.check import check_model

    name, plugins = argument
    for file in plugins:
        registry.load_plugin_file(file)
    return [(v.check, v.problem) for v in check_model(registry.models.get(name))]
