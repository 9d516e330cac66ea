"""Text of the pages of reference: whatever a name, a docstring or a plugin says, in a form that cannot become markup."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from ...leaderboards.text import escape, table
from .docstrings import Docstring

#: Markup of docstrings: code in double or single backticks, with a role before it or not.
_SPAN = re.compile(r"(?::(?P<role>[a-z:]+):)?(?P<ticks>``|`)(?P<code>[^`]+)(?P=ticks)")
#: What means something at the beginning of a paragraph.
_LEADING = re.compile(r"^\s*(?:[-+#=:%(]|\d+[.)])")
_MATH = re.compile(r"\.\. math::\s*(?P<formula>.*)", re.DOTALL)


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A table of two columns, of cells that are escaped already; rows without a value are left out."""
    return table([[name, value] for name, value in rows if value], ["property", "value"])


def quoted(name: str) -> str:
    """A name as it is typed into a shell."""
    return shlex.quote(name)


def code(text: str) -> str:
    """A span of code that shows any text as it is, in a table too."""
    flat = "".join(c if c.isprintable() else " " for c in text).strip()
    if not flat:
        return "–"
    ticks = "`" * (1 + max((len(run) for run in re.findall(r"`+", flat)), default=0))
    space = " " if flat[0] == "`" or flat[-1] == "`" else ""
    return f"{ticks}{space}{flat}{space}{ticks}".replace("|", r"\|")


def plain(text: str) -> str:
    """Any text on one line, none of which is markup."""
    safe = escape(text)
    for character in "{}$":
        safe = safe.replace(character, f"\\{character}")
    return _LEADING.sub(lambda found: found[0][:-1] + "\\" + found[0][-1], safe)


def prose(text: str, *, trusted: bool = False) -> str:
    """A paragraph of a docstring on one line: its code as code, the rest as plain text.

    Parameters
    ----------
    trusted
        Whether formulas are set as formulas. Those of a plugin are shown as code: not everything can be set.
    """
    flat = " ".join(text.split())
    out, at = [], 0
    for found in _SPAN.finditer(flat):
        out.append(_between(flat[at : found.start()], first=at == 0))
        formula = trusted and found["role"] == "math"
        out.append(f"{{math}}`{found['code']}`" if formula else code(found["code"].removeprefix("~")))
        at = found.end()
    return "".join([*out, _between(flat[at:], first=at == 0)])


def _between(text: str, *, first: bool) -> str:
    if first:
        return plain(text)
    # Not at the beginning of a paragraph: a hyphen or a number there is only that.
    return plain("x" + text)[1:]


def block(paragraph: str, *, trusted: bool = False) -> str:
    """A paragraph, list, formula or example of a docstring as markdown."""
    lines = paragraph.splitlines()
    if lines[0].lstrip().startswith(">>>"):
        return fenced("\n".join(line.strip() for line in lines), "python")
    if formula := _MATH.match(paragraph.strip()):
        text = " ".join(formula["formula"].split())
        return f"```{{math}}\n{text}\n```" if trusted else code(text)
    if lines[0].lstrip().startswith("- "):
        items = re.split(r"(?m)^\s*- ", paragraph)[1:]
        return "\n".join(f"- {prose(item, trusted=trusted)}" for item in items)
    return prose(paragraph, trusted=trusted)


def fenced(text: str, language: str = "text") -> str:
    """A block of code that shows any text as it is, line by line."""
    lines = ["".join(c if c.isprintable() else " " for c in line) for line in re.split(r"[\r\n]", text)]
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{ticks}{language}\n" + "\n".join(lines) + f"\n{ticks}"


def commands(*lines: str) -> str:
    """Command lines as a block of code."""
    return fenced("\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines), "sh")


def explained(said: Docstring, name: str, known: Iterable[str], trusted: bool) -> str:
    """What a docstring says of a parameter; of those that it describes together, the first one has the text."""
    group = next((names for names in said.parameters if name in names), ())
    first = next((other for other in known if other in group), name)
    return prose(said.parameter(name), trusted=trusted) if first == name else f"see {code(first)}"
