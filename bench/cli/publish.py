"""``pbench publish``."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from ...leaderboards.words import Entry, arguments, read_entries
from ..contracts.errors import PbenchError, UsageError
from ..engine.folders import write_atomically
from .options import json_option, load_plugins, plugin_option
from .progress import Silent, make_reporter
from .rendering import HISTORY, WORDS, read_published

if TYPE_CHECKING:
    from ...leaderboards.published import Published

#: Runs the command line in a process of its own.
ENTRY = "from {package}.bench.cli.main import main; main()"
FOLDER = click.Path(file_okay=False, path_type=Path)


@dataclass
class Report:
    """What publishing did to files, or would do."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0

    @property
    def up_to_date(self) -> bool:
        return not self.written and not self.removed


@click.command(short_help="Write boards, index and site from the published records.")
@click.argument("root", default="leaderboards", type=FOLDER)
@click.option("--results", type=FOLDER, help="Publish this folder of results of pbench run, not the records below ROOT.")
@click.option("--out", type=FOLDER, help="Write below this folder. Default: ROOT; needed with --results.")
@click.option("--site", type=FOLDER, help="Also write the static site into this folder.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 and name what is stale.")
@click.option("--release", metavar="VERSION", help=f"Freeze the headline means of every board in ROOT/{HISTORY}.")
@click.option(
    "--numbers", type=click.Path(dir_okay=False, path_type=Path), help="Also write every number to this file, for pbench compare."
)
@click.option(
    "--run",
    "which",
    metavar="WHICH",
    help=f"First run the commands of ROOT/{WORDS} into --results: all, nightly, or data sets (globs and commas).",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@plugin_option
@json_option
def publish(
    root: Path,
    results: Path | None,
    out: Path | None,
    site: Path | None,
    check: bool,
    release: str | None,
    numbers: Path | None,
    which: str | None,
    quiet: bool,
    plugins: tuple[str, ...],
    as_json: bool,
) -> int:
    """Write a page for each board, the index and the site: a pure function of the records, with the same bytes every time.

    Records are the bundles below ROOT/records. Pages go to boards/ and README.md; pages of boards that are no more are
    removed, files that pbench did not write are left alone.

    \b
    Examples:
      pbench publish                                       boards and index of leaderboards/
      pbench publish --site site                           the same with the static site
      pbench publish --check                               are the pages what the records give?
      pbench publish --release 0.1.0                       freeze the numbers of a release
      pbench publish --results results --out mine          boards of your own results
      pbench publish --run nightly --results new --out new  run the small boards anew, then publish them
    """
    load_plugins(plugins)
    if which is not None and results is None:
        raise UsageError("--run writes into a folder of results; name it with --results.")
    if results is not None and out is None:
        raise UsageError("with --results, say where the pages go with --out.")
    if release is not None and (check or results is not None):
        raise UsageError("--release freezes the published records; leave out --check and --results.")
    if results is None and not root.is_dir():
        raise UsageError(f"there is no folder {root}. Give the folder that holds records/, or --results RESULTS --out FOLDER.")
    with make_reporter(quiet=quiet or as_json) as reporter:
        if which is not None and results is not None:
            run_boards(chosen(read_entries(root / WORDS), which), results, reporter, plugins)
        found = read_published(root, results, reporter)
        if release is not None:
            found = _frozen(found, root, release)
        if out is not None and out.resolve() != root.resolve():
            # Links to records lead somewhere only from beside them.
            found = replace(found, sources=())
        report = write_pages(found, out or root, check=check)
        if site is not None:
            reporter.phase("writing the site")
            write_site(found, site, report, check=check)
        if numbers is not None:
            from ...leaderboards.moved import dump
            from ...leaderboards.moved import numbers as all_numbers

            text = dump(all_numbers(found.boards, found.codes))
            write_atomically(numbers, lambda p: p.write_text(text, encoding="utf-8"))
    if as_json:
        click.echo(json.dumps(_facts(found, report), indent=1, sort_keys=True))
    else:
        click.echo(_words(found, report, check), err=check)
    return 1 if check and not report.up_to_date else 0


def _frozen(found: Published, root: Path, release: str) -> Published:
    from ...leaderboards.history import dump, freeze, headline

    history = freeze(found.history, release, headline(found.boards, found.codes, found.metrics))
    write_atomically(root / HISTORY, lambda p: p.write_text(dump(history), encoding="utf-8"))
    return replace(found, history=history)


def write_pages(found: Published, folder: Path, *, check: bool) -> Report:
    """Write the pages that differ and remove generated ones that are no more; with `check` only say which.

    Raises
    ------
    UsageError
        If a page would replace a file that pbench did not write.
    """
    from ...leaderboards.pages import MARK, pages

    report = Report()
    made = dict(pages(found))
    old = {name: _text(folder / name) for name in made}
    if foreign := [name for name, text in old.items() if text is not None and not text.startswith(MARK)]:
        raise UsageError(f"{folder / foreign[0]} was not written by pbench publish and stays; choose another folder with --out.")
    for name, text in made.items():
        if old[name] == text:
            report.unchanged += 1
            continue
        report.written.append(name)
        if not check:
            write_atomically(folder / name, lambda p, text=text: p.write_text(text, encoding="utf-8", newline="\n"))
    for path in sorted((folder / "boards").rglob("*.md"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if name not in made and (_text(path) or "").startswith(MARK):
            report.removed.append(name)
            if not check:
                path.unlink()
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
    return report


def _text(path: Path) -> str | None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and a page must go there; choose another folder with --out.")
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else None


def write_site(found: Published, folder: Path, report: Report, *, check: bool) -> None:
    """Build the site; with `check` elsewhere, to say which of its files are not what the records give."""
    from ...leaderboards.site.build import build

    if not check:
        before = _tree(folder)
        build(found, folder)
        after = _tree(folder)
    else:
        before = _tree(folder)
        with TemporaryDirectory() as made:
            build(found, Path(made) / "site")
            after = _tree(Path(made) / "site")
    report.written += [f"{folder.name}/{name}" for name, data in after.items() if before.get(name) != data]
    report.removed += [f"{folder.name}/{name}" for name in before if name not in after]
    report.unchanged += sum(before.get(name) == data for name, data in after.items())


def _tree(folder: Path) -> dict[str, str]:
    from ..contracts.identity import file_sha256

    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def chosen(entries: Sequence[Entry], which: str) -> list[Entry]:
    """Entries that are meant by ``all``, ``nightly``, or globs of data sets.

    Raises
    ------
    UsageError
        If that is none.
    """
    if which == "all":
        found = list(entries)
    elif which == "nightly":
        found = [e for e in entries if e.nightly]
    else:
        globs = [g.strip() for g in which.split(",")]
        found = [e for e in entries if any(e.dataset == g or fnmatchcase(e.dataset, g) for g in globs)]
    if not found:
        known = ", ".join(dict.fromkeys(e.dataset for e in entries)) or f"none; there is no {WORDS} below ROOT"
        raise UsageError(f"--run {which}: no board is meant. Say all, nightly, or one of the data sets: {known}.")
    return found


def run_boards(entries: Sequence[Entry], results: Path, reporter: Silent, plugins: Sequence[str] = ()) -> None:
    """Run the command of each board once into a folder of results; jobs that fail are rows, as in any run.

    Raises
    ------
    PbenchError
        If a command cannot be run.
    """
    commands = list(dict.fromkeys(e.words.command for e in entries))
    reporter.planned(len(commands), 0)
    for command in commands:
        started = time.monotonic()
        reporter.started(command)
        code = _run([*arguments(command), *(f"--plugin={p}" for p in plugins), f"--out={results}", "--quiet"])
        reporter.finished(command, "ok" if not code else "failed", "some jobs have no answer", time.monotonic() - started)


def _run(arguments: Sequence[str]) -> int:
    """Exit code of ``pbench run``: 0, or 1 where jobs failed."""
    entry = ENTRY.format(package=__name__.partition(".")[0])
    command = [sys.executable, "-c", entry, "run", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        said = done.stderr.strip().removeprefix("Error: ")[-2000:]
        raise PbenchError(f"pbench run {shlex.join(arguments)} ended with {done.returncode}: {said}")
    return done.returncode


def _words(found: Published, report: Report, check: bool) -> str:
    boards = len(found.boards) + len(found.codes)
    if check:
        stale = [*(f"stale or missing: {n}" for n in report.written), *(f"no longer made: {n}" for n in report.removed)]
        return "\n".join(
            [*stale, "Write them with: pbench publish"] if stale else [f"{boards} boards are what the records give."]
        )
    text = (
        f"{boards} boards: {len(report.written)} files written, {len(report.removed)} removed, {report.unchanged} as they were."
    )
    return "\n".join([text, *(f"damaged: {d}" for d in found.damaged), *(f"refused: {r}" for r in found.refused)])


def _facts(found: Published, report: Report) -> dict[str, Any]:
    from ...leaderboards.pages import page_of

    return {
        "boards": [page_of(b) for b in (*found.boards, *found.codes)],
        "written": report.written,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "up_to_date": report.up_to_date,
        "refused": list(found.refused),
        "damaged": list(found.damaged),
    }
