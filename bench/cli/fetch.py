"""``pbench fetch``."""

from __future__ import annotations

import json

import click

from ...datasets.gene2go import fetch as fetch_annotations
from ..contracts import registry
from ..contracts.errors import UsageError
from .options import json_option, load_plugins, plugin_option

#: Side information that can be downloaded, beside the registered data sets.
RESOURCES = {"go": fetch_annotations}


@click.command(short_help="Bring a data set into the data folder and verify it.")
@click.argument("names", nargs=-1, required=True)
@plugin_option
@json_option
def fetch(names: tuple[str, ...], plugins: tuple[str, ...], as_json: bool) -> int:
    """Download data sets that are not there yet and verify their checksums; 'go' is the Gene Ontology list that GEARS uses.

    Files go into PBENCH_DATA where that is set, else into the user's cache folder.

    \b
    Examples:
      pbench fetch norman-mini
      PBENCH_DATA=/big/disk pbench fetch norman adamson
      pbench fetch go
    """
    load_plugins(plugins)
    found = {}
    for name in names:
        if name == "your.h5ad":
            raise UsageError("your.h5ad stands for a file of yours; give its path to pbench run --dataset.")
        if name in RESOURCES:
            found[name] = {"path": str(RESOURCES[name]())}
            if not as_json:
                click.echo(f"{name}: {found[name]['path']}")
            continue
        dataset = registry.datasets.get(name)
        where = "generated when it is used; nothing to fetch"
        if dataset.fetch is not None:
            where = str(dataset.fetch())
        found[name] = {"path": where, "data_id": dataset.data_id()}
        if not as_json:
            click.echo(f"{name}: {where} (data {found[name]['data_id'][:12]})")
    if as_json:
        click.echo(json.dumps(found, indent=1))
    return 0
