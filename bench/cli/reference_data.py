"""The pages of a data set and of a split."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...leaderboards.text import table
from ..contracts import registry
from ..contracts.errors import PbenchError
from ..contracts.registry import Entry
from . import docstrings
from .docstrings import Docstring
from .page_text import block, code, commands, explained, facts, plain, prose, quoted

SCALES = {
    "counts": "counts (UMI or reads); 10,000 a cell and log1p when they are profiled",
    "log1p_1e4": "natural log of 1 + counts per 10,000",
    "raw": "taken as it is",
}


def dataset_page(entry: Entry, value: Any) -> str:
    """Markdown of a data set: its card, its defects, its parameters and how to get it."""
    trusted = entry.origin == "built in"
    if not hasattr(value, "card"):
        return _file_page(entry, value, trusted)
    card = value.card
    generator = _generator(entry)
    said = docstrings.read(generator) if generator else Docstring()
    parts = [f"# {code(entry.name)}", plain(card.title), facts(_facts(entry, value))]
    defects = [f"- {plain(str(d))}" for d in card.known_defects]
    parts += ["## Known defects", "\n".join(defects) if defects else "The card names none."]
    if paragraphs := [block(p, trusted=trusted) for p in (said.summary, *said.body) if p]:
        parts += ["## How it is made", *paragraphs]
    if value.parameters:
        parts += ["## Parameters", parameter_table(value.parameters, said, trusted)]
        parts.append(f"Typed as {code(f'{entry.name}[{next(iter(value.parameters))}=…]')}; another value is another data set.")
    return "\n\n".join([*parts, *_getting(entry, value), "[All data sets](index.md)"]) + "\n"


def defects_page() -> str:
    """Markdown with what the cards of all data sets know to be wrong."""
    parts = ["# Known defects by data set", "What the cards say. The audit repeats it above every board."]
    for name in registry.datasets:
        try:
            known = getattr(getattr(registry.datasets.get(name), "card", None), "known_defects", ())
        except PbenchError:
            continue
        if known:
            parts += [f"## {code(name)}", "\n".join(f"- {plain(str(defect))}" for defect in known)]
    return "\n\n".join(parts) + "\n"


def _facts(entry: Entry, value: Any) -> list[tuple[str, str]]:
    card = value.card
    counts = [("cells", card.n_cells), ("genes", card.n_genes), ("perturbations", card.n_perturbations)]
    return [
        ("simulated", "**yes: nothing of it is evidence about biology**" if card.simulated else "no"),
        ("modality", plain(card.modality)),
        *((what, f"{n:,}" if n is not None else "") for what, n in counts),
        ("scale", f"{code(card.scale)}: {SCALES[card.scale]}" if card.scale in SCALES else code(str(card.scale))),
        ("label of controls", code(card.control_label)),
        ("selection of genes", plain(card.feature_selection)),
        ("default split", f"{code(card.default_split)}"),
        ("source", plain(card.source)),
        ("licence", plain(card.licence)),
        ("cite", plain(card.citation)),
        ("sha256", code(card.sha256) if card.sha256 else ""),
        ("origin", plain(entry.origin)),
        ("defined in", code(entry.target)),
    ]


def _getting(entry: Entry, value: Any) -> list[str]:
    name = quoted(entry.name)
    if value.file:
        text = (
            f"It lies in a file, {code(value.file)}, in the folder that {code('PBENCH_DATA')} names (without it, in the user's "
            "cache folder). A file that is there already is read; its checksum is compared where one is known."
        )
        lines = [f"pbench fetch {name}"] if value.fetch is not None else []
    elif value.fetch is not None:
        text, lines = "It is downloaded.", [f"pbench fetch {name}"]
    else:
        text, lines = "It is generated when it is asked for; nothing is downloaded.", []
    lines += [f"pbench show {name}"]
    track = " --track identifiability" if value.card.default_split == "units" else ""
    lines += [f"pbench run{track} --dataset {name}"]
    return ["## How to get it", text, commands(*lines)]


def _generator(entry: Entry) -> Any:
    """The function that makes a generated data set, where its module has one of its own or of the module that it draws on."""
    module = importlib.import_module(entry.target.partition(":")[0])
    for place in (module, *(m for m in vars(module).values() if isinstance(m, ModuleType))):
        if getattr(getattr(place, "CARD", None), "name", None) == entry.name:
            return getattr(place, "simulate", None) or getattr(place, "read", None)
    return None


def _file_page(entry: Entry, function: Any, trusted: bool) -> str:
    """A reader of files of one's own."""
    said = docstrings.read(function)
    known = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
    parts = [f"# {code(entry.name)}", plain(entry.summary)]
    parts += [block(p, trusted=trusted) for p in (said.summary, *said.body) if p]
    parts += ["## Options", parameter_table(known, said, trusted, options=True)]
    run = "pbench run --dataset my.h5ad --scale counts --perturbation-key gene --control-label NT"
    return "\n\n".join([*parts, "## Try it", commands(run), "[All data sets](index.md)"]) + "\n"


def split_page(entry: Entry, function: Any) -> str:
    """Markdown of a split: what is test and what training, the parameters, and when it is refused."""
    trusted = entry.origin == "built in"
    said = docstrings.read(function)
    found = inspect.signature(function).parameters.values()
    known = {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY and p.name != "data_id"}
    defaults = [n for n in registry.datasets if _default_split(n) == entry.name]
    parts = [
        f"# {code(entry.name)}",
        plain(entry.summary),
        facts(
            [
                ("default of", ", ".join(code(n) for n in defaults)),
                ("origin", plain(entry.origin)),
                ("defined in", code(entry.target)),
            ]
        ),
    ]
    if paragraphs := [block(p, trusted=trusted) for p in (said.summary, *said.body) if p]:
        parts += ["## What is test and what is training", *paragraphs]
    if known:
        parts += ["## Parameters", parameter_table(known, said, trusted)]
        parts.append(f"Typed as {code(f'{entry.name}[{next(iter(known))}=…]')}. Parameters are part of the manifest's identity.")
    for heading, title in (("Raises", "When it is refused"), ("References", "Source")):
        if said.sections.get(heading):
            parts.append(f"**{title}.** " + " ".join(_unindented(p, trusted) for p in said.sections[heading]))
    name = quoted(entry.name)
    example = defaults[0] if defaults else "norman-sim"
    lines = [
        f"pbench show {name} --dataset {quoted(example)} --manifest splits/",
        f"pbench audit {name} --dataset {quoted(example)}",
    ]
    return "\n\n".join([*parts, "## Try it", commands(*lines), "[All splits](index.md)"]) + "\n"


def _default_split(name: str) -> str:
    try:
        return str(getattr(getattr(registry.datasets.get(name), "card", None), "default_split", ""))
    except PbenchError:
        return ""


def _unindented(paragraph: str, trusted: bool) -> str:
    """The text of a section of entries: ``Error`` on a line, what it means on the indented ones below."""
    out = []
    for line in paragraph.splitlines():
        indented = line.startswith(" ")
        out.append(line.strip() if indented or " " in line.strip() else f"`{line.strip()}`:")
    return prose(" ".join(out), trusted=trusted)


def parameter_table(known: Mapping[str, Any], said: Docstring, trusted: bool, *, options: bool = False) -> str:
    """Names, defaults and what a docstring says of them."""
    rows = [
        [
            code(f"--{name.replace('_', '-')}" if options else name),
            code(repr(default)) if default is not inspect.Parameter.empty else "required",
            explained(said, name, known, trusted),
        ]
        for name, default in known.items()
    ]
    return table(rows, ["name", "default", "what it is"])
