"""Docstrings and their parts."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Docstring:
    """What a docstring says.

    Parameters
    ----------
    summary
        Its first paragraph, on one line.
    body
        The paragraphs after it, before the first section.
    parameters
        Text of each entry of its section of parameters, by the names of the entry.
    sections
        Paragraphs of the other sections by heading.
    """

    summary: str = ""
    body: tuple[str, ...] = ()
    parameters: dict[tuple[str, ...], str] = field(default_factory=dict)
    sections: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def parameter(self, name: str) -> str:
        """What is said of a parameter; empty where nothing is."""
        return next((text for names, text in self.parameters.items() if name in names), "")


def read(value: Any) -> Docstring:
    """The parts of the docstring of a class or function."""
    text = inspect.cleandoc(getattr(value, "__doc__", None) or "")
    # A heading is a line that is underlined.
    pieces = re.split(r"(?m)^([A-Z][A-Za-z ]*)\n-{3,}\n", text)
    paragraphs = _paragraphs(pieces[0])
    sections = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    entries = _entries(sections.pop("Parameters", ""))
    rest = {title: _paragraphs(part) for title, part in sections.items()}
    return Docstring(" ".join(paragraphs[0].split()) if paragraphs else "", paragraphs[1:], entries, rest)


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(p.rstrip() for p in re.split(r"\n\s*\n", text) if p.strip())


def _entries(text: str) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], list[str]] = {}
    names: tuple[str, ...] = ()
    for line in text.splitlines():
        if line.strip() and not line[0].isspace():
            names = tuple(n.strip(" *") for n in line.partition(":")[0].split(","))
            found[names] = []
        elif names:
            found[names].append(line.strip())
    return {names: " ".join(" ".join(lines).split()) for names, lines in found.items()}
