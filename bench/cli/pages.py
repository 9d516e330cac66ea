"""The reference: a page for every model, data set, split and metric, written from what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...leaderboards.slugs import slug
from ...leaderboards.text import table
from ..contracts import registry
from ..contracts.errors import PbenchError
from . import docstrings
from .page_text import code, plain
from .reference_data import dataset_page, defects_page, split_page
from .reference_metrics import metric_page
from .reference_models import GROUPS, model_page

#: What stands above the list of each kind.
INTRODUCTIONS = {
    "models": "Every model, with what it can be asked, what it knows beyond the screen, and its parameters.",
    "datasets": "Every data set, with its licence, its known defects and how to get it.",
    "splits": "Every split: what is test, what is training, and the parameters.",
    "metrics": "Every metric with its formula, its range and how it can mislead.",
}
TITLES = {"models": "All models", "datasets": "All data sets", "splits": "All splits", "metrics": "All metrics"}
WRITERS: dict[str, Callable[[registry.Entry, Any], str]] = {
    "models": model_page,
    "datasets": dataset_page,
    "splits": split_page,
    "metrics": metric_page,
}
#: Pages are found through the list of their kind, not through the contents of the site.
ORPHAN = "---\norphan: true\n---\n\n"


def reference(kinds: Iterable[str] = tuple(WRITERS)) -> dict[str, str]:
    """Markdown by file name, ``KIND/NAME.md`` and ``KIND/index.md``; a pure function of what is registered."""
    return {f"{kind}/{name}": text for kind in kinds for name, text in pages(kind).items()}


def site_pages() -> dict[str, str]:
    """All that the documentation's build writes: the reference and the page of commands."""
    from .reference_commands import commands_page

    return {**reference(), "commands.md": commands_page(), "defects.md": defects_page()}


def pages(kind: str) -> dict[str, str]:
    """Markdown by file name of one kind, ``models``, ``datasets``, ``splits`` or ``metrics``: a list, and a page for each entry."""
    entries = registry.REGISTRIES[kind]
    found: dict[str, str] = {}
    rows: dict[str, list[list[str]]] = {}
    broken = dict(entries.broken)
    for name, entry in entries.entries().items():
        try:
            value = entries.get(name)
            page = WRITERS[kind](entry, value)
            row = [
                f"[{code(name)}]({slug(name)}.md)",
                plain(entry.summary or docstrings.read(value).summary),
                plain(entry.origin),
            ]
        except PbenchError as error:
            broken[name] = str(error)
        except Exception as error:  # noqa: BLE001 - what a plugin registers can be anything
            broken[name] = f"{type(error).__name__}: {error}"
        else:
            found[f"{slug(name)}.md"] = ORPHAN + page
            rows.setdefault(_group(kind, entry), []).append(row)
    return {"index.md": _index(kind, rows, broken), **dict(sorted(found.items()))}


def _group(kind: str, entry: registry.Entry) -> str:
    if kind == "metrics":
        from ...metrics import FAMILIES

        return next((page for page, metrics in FAMILIES.items() if any(m.id == entry.name for m in metrics)), "of plugins")
    return entry.group if kind == "models" else ""


def _index(kind: str, rows: Mapping[str, list[list[str]]], broken: Mapping[str, str]) -> str:
    out = [f"# {TITLES[kind]}", INTRODUCTIONS[kind]]
    for group, members in rows.items():
        if len(rows) > 1:
            heading = GROUPS.get(group, group) if kind == "models" else group
            out.append(f"## {plain(heading)}")
        plugins = any(origin != "built in" for *_, origin in members)
        shown = members if plugins else [row[:2] for row in members]
        out.append(table(shown, ["name", "what it is", "origin"][: len(shown[0])]))
    for suffix, (_, summary) in registry.REGISTRIES[kind].variants().items():
        out.append(f"{code(f'NAME+{suffix}')}: any of these. {plain(summary)}")
    if broken:
        out += ["## Not readable", "\n".join(f"- {code(name)}: {plain(reason)}" for name, reason in sorted(broken.items()))]
    out.append(f"The same in a terminal: {code('pbench list ' + kind)} and {code('pbench show NAME')}.")
    return "\n\n".join(out) + "\n"


def write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write pages whose text changed, and nothing else; returns the paths of all of them.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    paths = []
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def rewrite(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """The same, after which the folder holds no other page of markdown."""
    kept = write(texts, folder)
    for path in folder.rglob("*.md"):
        if path not in kept:
            path.unlink()
    return kept
