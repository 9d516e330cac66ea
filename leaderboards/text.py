"""Names and numbers as markdown shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tabulate import tabulate

ARROWS = {"up": "↑", "down": "↓", "target": "→"}


def escape(text: str) -> str:
    """Text from data or plugins, so that it cannot break a table or become markup."""
    out = "".join(c if c.isprintable() else " " for c in text)
    for character, safe in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("\\", "\\\\"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("*", "\\*"),
        ("_", "\\_"),
        ("~", "\\~"),
        ("[", "\\["),
        ("]", "\\]"),
    ):
        out = out.replace(character, safe)
    return out


def number(value: float) -> str:
    """Three significant digits, without a negative zero.

    >>> number(0.12345), number(-0.0)
    ('0.123', '0')
    """
    return f"{value + 0.0:.3g}" if abs(value) >= 1e-12 else "0"


def span(value: float, low: float, high: float, *, mark: str = "") -> str:
    """A number with its interval, a dash where it is undefined; `mark` stands behind the number."""
    if math.isnan(value):
        return "–"
    return number(value) + mark + ("" if math.isnan(low) else f" \\[{number(low)}, {number(high)}\\]")


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A markdown table of cells that are escaped already."""
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
