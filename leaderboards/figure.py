"""The order of models on a board as a drawing: mean ranks, and bars over the models that tests cannot tell apart."""

from __future__ import annotations

import html

from .board import Board
from .order import PRIMARY

ROW, LEFT, WIDTH, BAR, TOP = 22, 260, 420, 16, 64


def critical_difference(board: Board) -> str | None:
    """SVG of the models in the order of their mean rank, the same bytes for the same records; None where nothing is ordered.

    Each bar on the right marks the models that share a letter: no paired test (Holm over all pairs, 5 %) tells one of them
    from another.

    References
    ----------
    Demsar, J. Mach. Learn. Res. 7 (2006): critical-difference diagram.
    """
    if board.order is None or not board.order.mean_ranks:
        return None
    groups = board.order.groups
    models = list(groups)
    letters = sorted({letter for own in groups.values() for letter in _split(own)}, key=lambda x: (int(x[1:] or 0), x))
    worst = max(len(models), 2)
    bottom = TOP + ROW * len(models)
    width = LEFT + WIDTH + 40 + BAR * len(letters)

    def across(rank: float) -> float:
        return LEFT + WIDTH * (rank - 1) / (worst - 1)

    title = escape(f"{board.dataset} · {board.split}: mean rank by {PRIMARY}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 24}" font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f'<rect width="{width}" height="{bottom + 24}" fill="white"/>',
        f'<text x="12" y="20" font-size="13">{title}</text>',
    ]
    for rank in range(1, worst + 1, max(1, worst // 10)):
        x = across(rank)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 12}" x2="{x:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP - 18}" text-anchor="middle" fill="#555555">{rank}</text>')
    height = {m: TOP + ROW * i + ROW / 2 for i, m in enumerate(models)}
    for model in models:
        x, y = across(board.order.mean_ranks[model]), height[model]
        parts.append(f'<text x="{LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(model))}</text>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="#1f4e79"><title>{escape(model)}</title></circle>')
    for number, letter in enumerate(letters):
        x = LEFT + WIDTH + 28 + BAR * number
        own = [height[m] for m in models if letter in _split(groups[m])]
        parts.append(f'<text x="{x}" y="{TOP - 18}" text-anchor="middle" fill="#555555">{letter}</text>')
        parts.append(f'<line x1="{x}" y1="{own[0]:.1f}" x2="{x}" y2="{own[-1]:.1f}" stroke="#1f4e79" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y:.1f}" r="4" fill="#1f4e79"/>' for y in own]
    return "\n".join([*parts, "</svg>"]) + "\n"


def file_name(board: Board) -> str:
    """A file name of letters, digits, dots and dashes that no other data set and split of a results folder has."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in f"{board.dataset}-{board.split}")
    return f"critical-difference-{plain}-{board.split_ids[0][:8]}.svg"


def escape(name: str) -> str:
    """Text from data or plugins, so that it cannot become markup."""
    return html.escape("".join(c if c.isprintable() else " " for c in name))


def _short(name: str) -> str:
    return name if len(name) <= 36 else name[:35] + "…"


def _split(letters: str) -> list[str]:
    """The letters of a compact letter display, which have a number behind them after z."""
    found: list[str] = []
    for c in letters:
        if c.isdigit():
            found[-1] += c
        else:
            found.append(c)
    return found
