"""``pbench compare``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ...leaderboards.slugs import slug
from ..contracts.errors import PbenchError, UsageError
from ..contracts.identity import file_sha256
from ..engine.bundle import find_bundles, read_bundle
from .options import json_option, load_plugins, plugin_option
from .progress import Silent, make_reporter
from .rendering import RECORDS, read_published

#: Of files that differ, so many are named.
NAMED = 50
PLACE = click.Path(path_type=Path)


@click.command(short_help="Say which published numbers moved between two sets of records.")
@click.argument("base", type=PLACE)
@click.argument("new", type=PLACE)
@click.option(
    "--only-additions", is_flag=True, help="Compare files instead: NEW may only add whole bundles to the records of BASE."
)
@click.option("--names", is_flag=True, help="With --only-additions, print the folders of the added bundles and nothing else.")
@click.option(
    "--noise",
    is_flag=True,
    help="Numbers that differ no more than two runs with other seeds do are listed apart and raise no alarm.",
)
@click.option("--shared", is_flag=True, help="Only boards that both have.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@plugin_option
@json_option
def compare(
    base: Path,
    new: Path,
    only_additions: bool,
    names: bool,
    noise: bool,
    shared: bool,
    quiet: bool,
    plugins: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show as markdown which published numbers moved, came or went from BASE to NEW.

    Each is a folder that holds records/ with bundles, a folder of results of pbench run, or a file that pbench publish
    --numbers wrote, perhaps with another version of pbench. A number has moved where it or an end of its interval differs by
    more than half of the last digit that boards show. Exit code 1 says that a number that was there moved or vanished. New
    numbers and other ranks are listed and raise no alarm.

    \b
    Examples:
      pbench compare main/leaderboards branch/leaderboards
      pbench compare leaderboards results --shared --noise      a run of your own beside the published one
      pbench compare before.json leaderboards                   the same records, rendered by two versions
      pbench compare main/leaderboards branch/leaderboards --only-additions
    """
    load_plugins(plugins)
    if names and (as_json or not only_additions):
        raise UsageError("--names goes with --only-additions and without --json.")
    if gone := [path for path in (base, new) if not path.exists()]:
        raise UsageError(f"there is no {gone[0]}. Give two folders that hold {RECORDS}/, or files of pbench publish --numbers.")
    with make_reporter(quiet=quiet or as_json or names) as reporter:
        if only_additions:
            return _show_additions(additions(base, new), names=names, as_json=as_json)
        return _show_moved(base, new, noise, shared, reporter, as_json)


def _show_moved(base: Path, new: Path, noise: bool, shared: bool, reporter: Silent, as_json: bool) -> int:
    from ...leaderboards.moved import Number, markdown
    from ...leaderboards.moved import compare as compared

    found = compared(_numbers(base, reporter), _numbers(new, reporter), noise=noise, shared=shared)
    if not as_json:
        click.echo(markdown(found), nl=False)
        return int(found.alarm)

    def fact(n: Number) -> list[float | None]:
        return [None if x != x else x for x in (n.mean, n.low, n.high)]

    report: dict[str, Any] = {
        name: [[*k, fact(a), fact(b)] for k, (a, b) in pairs.items()]
        for name, pairs in (("moved", found.moved), ("noise", found.noise))
    }
    report |= {
        name: [[*k, fact(n)] for k, n in own.items()] for name, own in (("new", found.appeared), ("vanished", found.vanished))
    }
    report |= {"ranks": [[*k, *pair] for k, pair in found.ranks.items()], "same": found.same, "alarm": found.alarm}
    click.echo(json.dumps(report, indent=1, sort_keys=True))
    return int(found.alarm)


def _numbers(path: Path, reporter: Silent) -> Mapping[Any, Any]:
    """The numbers of a root of bundles, a folder of results, or a file of numbers."""
    from ...leaderboards.moved import load, numbers

    if path.is_file():
        return load(path.read_text(encoding="utf-8", errors="replace"), str(path))
    results = path if any((path / RECORDS).glob("*.json")) else None
    found = read_published(path, results, reporter)
    return numbers(found.boards, found.codes)


@dataclass(frozen=True)
class Additions:
    """What differs between the files of two sets of records: bundles that were added, and everything that is wrong."""

    added: list[Path]
    problems: list[str]
    unchanged: int


def additions(base: Path, new: Path) -> Additions:
    """Whether the records below `new` are those below `base` and whole bundles more, each in the place of its board.

    Raises
    ------
    UsageError
        If `new` holds no records.
    """
    if not (new / RECORDS).is_dir():
        raise UsageError(f"{new} holds no {RECORDS}/.")
    old, now = _files(base / RECORDS), _files(new / RECORDS)
    problems = [f"removed: {name}" for name in old if name not in now]
    problems += [f"changed: {name}" for name, sha in old.items() if name in now and now[name] != sha]
    before = {p.relative_to(base / RECORDS).as_posix() for p in find_bundles(base / RECORDS)}
    added = [p for p in find_bundles(new / RECORDS) if p.relative_to(new / RECORDS).as_posix() not in before]
    homes = {p.relative_to(new / RECORDS).as_posix() for p in added}
    for name in now:
        if name not in old and not any(name.startswith(f"{home}/") for home in homes):
            problems.append(f"belongs to no added bundle: {name}")
    sound = []
    for folder in added:
        name = folder.relative_to(new / RECORDS).as_posix()
        try:
            if any(not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", part) for part in name.split("/")):
                raise UsageError("a folder of a bundle is named with letters, digits, '.', '_', '+' and '-'")
            meta = read_bundle(folder).meta
            home = f"{slug(meta['dataset'])}/{slug(meta['split'])}/{meta['name']}"
            if name != home:
                raise UsageError(f"it is a bundle for {home}")
            sound.append(folder)
        except PbenchError as error:
            problems.append(f"not a sound bundle: {name}: {error}")
    return Additions(sound, sorted(problems), sum(now.get(name) == sha for name, sha in old.items()))


def _files(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder; of a link, what it is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = file_sha256(path)
        elif not path.is_dir():
            found[name] = "neither file nor folder"
    return found


def _show_additions(found: Additions, *, names: bool, as_json: bool) -> int:
    from ...leaderboards.text import escape

    if as_json:
        facts = {"added": list(map(str, found.added)), "problems": found.problems, "unchanged": found.unchanged}
        click.echo(json.dumps(facts, indent=1, sort_keys=True))
    elif names:
        for path in found.added:
            click.echo(path)
        for problem in found.problems:
            click.echo(_line(problem), err=True)
    else:
        click.echo(f"{found.unchanged} files of records are as they were; {len(found.added)} bundles were added.")
        for path in found.added:
            click.echo(f"- added: {escape(str(path))}")
        for problem in found.problems[:NAMED]:
            click.echo(f"- **{escape(problem)}**")
        if len(found.problems) > NAMED:
            click.echo(f"- and {len(found.problems) - NAMED} more")
    return int(bool(found.problems))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
