"""``pbench new``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..contracts.errors import UsageError, suggestion
from ..engine.new_package import DESCRIPTIONS, write_package
from .options import json_option

#: What to type after a package was written, from inside its folder.
NEXT = {
    "model": "pbench run --models {name},additive --dataset norman-sim",
    "dataset": "pbench run --dataset {name} --models additive,train-mean",
    "metric": "pbench run --models additive,train-mean --metrics {name},l2@all",
    "split": "pbench run --split {name} --models additive,train-mean",
}


@click.command(short_help="Write a package with a model, data set, metric or split of yours to start from.")
@click.argument("kind", metavar="model|dataset|metric|split")
@click.argument("name")
@click.option(
    "--out",
    "parent",
    default=".",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder in which the package's folder is made.",
)
@json_option
def new(kind: str, name: str, parent: Path, as_json: bool) -> int:
    """Write a small package that passes `pbench check` at once: one module, one test, an entry point, a README.

    \b
    Examples:
      pbench new model my-model
      pbench new dataset my-screen --out ~/code
      pbench new metric my-error
      pbench new split my-split --json
    """
    from ...metrics import PROFILES

    if kind not in DESCRIPTIONS:
        raise UsageError(f"there is no template of a '{kind}'. {suggestion(kind, DESCRIPTIONS)} Type: pbench new model NAME")
    paths = write_package(kind, name, parent, tuple(PROFILES) if kind == "metric" else ())
    folder = paths[0].parent
    commands = [f"cd {folder}", "pip install -e .", "pytest", f"pbench check {name}", NEXT[kind].format(name=name)]
    if as_json:
        written = {"kind": kind, "name": name, "folder": str(folder), "files": [p.name for p in paths], "next": commands}
        click.echo(json.dumps(written, indent=1))
        return 0
    click.echo(f"Written to {folder}: {', '.join(p.name for p in paths)}\n\nNext:\n")
    for command in commands:
        click.echo(f"  {command}")
    return 0
