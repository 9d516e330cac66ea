"""Options that several commands share."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..contracts import registry
from ..contracts.errors import DataError, UsageError, suggestion
from ..engine import probe
from ..engine.plan import parse_requests
from ..engine.stage import DatasetRequest

# Whatever command looks a plugin up, no hanging or crashing one shall take it along.
probe.install()

#: Options that say how to read anybody's file, by the parameter of the reader.
FILE_OPTIONS = {
    "scale": "Scale of X in a file of yours: counts, log1p_1e4 or raw.",
    "control_label": "Label of control cells in a file of yours.",
    "perturbation_key": "Column of obs with perturbation labels.",
    "context_key": "Column of obs with the context (cell line, cell type, donor).",
    "dose_key": "Column of obs with doses.",
    "time_key": "Column of obs with hours since the perturbation.",
    "batch_key": "Column of obs with batches.",
    "separator": "What joins the targets of a combination in a label ('none': labels are single targets).",
    "layer": "Layer that holds expression, instead of X.",
}


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(FILE_OPTIONS.items()):
        function = click.option(f"--{name.replace('_', '-')}", name, help=text)(function)
    return function


def plugin_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(),
        help="Python file with models, data sets, splits or metrics; repeatable.",
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")(function)


def jobs_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--jobs",
        "-j",
        type=click.IntRange(1),
        default=lambda: min(4, os.cpu_count() or 1),
        show_default="cores, at most 4",
        help="Jobs at a time.",
    )(function)


class Memory(click.ParamType):
    """An amount of memory, ``4GB`` or ``512MB``; a bare number is megabytes. The value is in MB of 2^20 bytes."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])i?b?)?\s*", str(value), re.IGNORECASE)
        megabytes = float(match[1]) * 1024.0 ** "kmgt".index((match[2] or "m").lower()) / 1024 if match else 0.0
        if not 0 < megabytes < float("inf"):
            self.fail(f"{value!r} is no amount of memory; give one such as 4GB or 512MB.", param, ctx)
        return megabytes


class NamedPath(click.Path):
    """A path that is not the empty string, which would silently stand for the folder where the command is typed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty text is no path; a dot stands for this folder.", param, ctx)
        return super().convert(value, param, ctx)


def no_empty_paths(command: click.Command) -> click.Command:
    """The command, whose paths have to be named."""
    for parameter in command.params:
        if type(parameter.type) is click.Path:
            parameter.type.__class__ = NamedPath
    return command


def results_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--out",
        "--results",
        "results",
        default="results",
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of results.",
    )(function)


def load_plugins(plugins: tuple[str, ...]) -> tuple[str, ...]:
    """Register plugin files; returns absolute paths for the job processes."""
    paths = list(dict.fromkeys(Path(p).resolve() for p in plugins))
    stems = [p.stem for p in paths]
    if twice := [p for p in paths if stems.count(p.stem) > 1]:
        raise UsageError(f"two plugin files are named '{twice[0].stem}' ({twice[0]} and {twice[1]}); rename one.")
    probe.check_files(paths)
    for path in paths:
        # Standard output belongs to the command's answer.
        with contextlib.redirect_stdout(sys.stderr):
            registry.load_plugin_file(path)
    return tuple(map(str, paths))


def usable(entries: registry.Registry) -> list[str]:
    """Names without those of plugins that cannot be imported; these are noted in ``entries.broken``."""
    working = []
    for name in entries:
        try:
            if entries.entry(name).origin != "built in":
                entries.get(name)
            working.append(name)
        except UsageError as error:
            entries.broken.setdefault(name, str(error))
    return working


def chosen_among(entries: registry.Registry, text: str) -> list[str]:
    """Names that a request may mean: all that are usable, and a broken one only where it is spelled out."""
    working = usable(entries)
    left_out = [name for name in entries if name not in working]
    for name in left_out:
        click.echo(f"Left out: {entries.kind} '{name}' cannot be imported ({entries.broken[name]}).", err=True)
    return working + [name for name in left_out if name in text]


def dataset_requests(text: str, options: dict[str, Any], *, option: str = "--dataset") -> list[DatasetRequest]:
    """Registered names (``all``, commas) and paths of files or zarr stores, given with the command line's `option`.

    Raises
    ------
    UsageError, DataError
        If a name is unknown, a file is absent, or file options are given without a file.
    """
    from ...datasets.zarr_store import is_store

    given = {k: v for k, v in options.items() if v is not None}
    if str(given.get("separator", "")).lower() == "none":
        given["separator"] = None
    known = [n for n in registry.datasets.names() if n != "your.h5ad"]
    requests = []
    # A path may hold commas.
    whole = Path(text).expanduser()
    parts = [text] if whole.is_file() or is_store(whole) else [p.strip() for p in re.split(r",(?![^\[]*\])", text)]
    for part in parts:
        if part == "all":
            requests += [DatasetRequest(n) for n in known]
        elif part in known:
            requests.append(DatasetRequest(part))
        elif part.partition("[")[0] in known and part.endswith("]"):
            named = parse_requests(part, known, kind="dataset")[0]
            request = DatasetRequest(str(named), options=dict(named.params))
            request.dataset()
            requests.append(request)
        elif "/" in part or part.endswith((".h5ad", ".h5", ".zarr")):
            path = Path(part).expanduser()
            if not path.is_file() and not is_store(path):
                what = (
                    "that is a folder and no zarr store; give the .h5ad or .zarr in it"
                    if path.is_dir()
                    else "there is no such file"
                )
                raise DataError(f"{option} {part}: {what}.")
            if "scale" not in given:
                raise UsageError(
                    f"{option} {part}: say what X holds with --scale counts, --scale log1p_1e4 or --scale raw; it is never guessed."
                )
            requests.append(DatasetRequest(path.stem, str(path.resolve()), given))
        elif part and Path(part).exists():
            raise UsageError(
                f"{option} {part}: that is no .h5ad and no .zarr, and screens are read from nothing else. See: pbench run --help"
            )
        else:
            raise UsageError(
                f"there is no dataset '{part}'. {suggestion(part, known)} A file of yours is given by its path. Type: pbench list datasets"
            )
    if given and not any(r.path for r in requests):
        raise UsageError(
            f"--{next(iter(given)).replace('_', '-')} says how to read a file, and {option} names none; give the path of an .h5ad or .zarr."
        )
    return requests
