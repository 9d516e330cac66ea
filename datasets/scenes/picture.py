"""Contact sheets: what the scenes of a data set look like, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.condition import parse_label
from . import lite_static, lite_temporal
from .imaging import Sampled
from .renderer import render
from .shapes import SHAPES

Array = np.ndarray[Any, Any]

#: Width of a picture, space between two, and space for the labels of rows, of columns and for the title, in pixels.
TILE, GAP, LEFT, TOP, TITLE = 132, 4, 170, 26, 58
PAPER, INK, FAINT = (255, 255, 255), (25, 25, 30), (110, 110, 120)


def temporal_sheet(path: Path, **dials: Any) -> None:
    """Write a PNG of trajectories: a row for a unit of each perturbation, a column for each time."""
    size = dials.pop("size")
    dials.pop("renderer")
    # Trajectories are shown whatever the mode: a snapshot shows one picture of each.
    sampled = lite_temporal.sample(
        **{**dials, "mode": "paired", "units_per_perturbation": max(dials["units_per_perturbation"], 8)}
    )
    wanted = list(sampled.truth.perturbations)
    rows = []
    for number, label in enumerate(wanted):
        own = np.flatnonzero(sampled.columns["perturbation"] == label)
        units = list(dict.fromkeys(sampled.columns["unit"][own].tolist()))
        # Another solid and another background from row to row.
        kinds = {u: sampled.scenes.shape[own[sampled.columns["unit"][own] == u][0]] for u in units}
        unit = next((u for u in units if kinds[u] == number % dials["n_classes"]), units[0])
        rows.append(own[sampled.columns["unit"][own] == unit])
    times = [f"time {t:g}" for t in np.unique(sampled.columns["time"])]
    labels = [("control", "unperturbed") if not parse_label(p) else (p, "perturbed after time 0") for p in wanted]
    title = "Each row is one unit; its perturbation acts on the named variables from time 1 on."
    _sheet(path, sampled, np.array(rows), labels, times, "c3di-lite-temporal", title, size)


def static_sheet(path: Path, **dials: Any) -> None:
    """Write a PNG of solids: a row for each class, a column for control and each perturbation."""
    size = dials.pop("size")
    dials.pop("renderer")
    few = {"images_per_perturbation": 40, "n_controls": 40}
    sampled = lite_static.sample(**{**dials, **{k: max(dials[k], n) for k, n in few.items()}})
    label, kind = sampled.columns["perturbation"], sampled.scenes.shape
    rows = [
        [np.flatnonzero((label == p) & (kind == c))[0] for p in sampled.truth.perturbations] for c in range(dials["n_classes"])
    ]
    names = [(name, f"class {i}") for i, name in enumerate(SHAPES[: dials["n_classes"]])]
    title = "A row for each class; the column names the variable on which a perturbation acts."
    _sheet(path, sampled, np.array(rows), names, list(sampled.truth.perturbations), "c3di-lite-static", title, size)


def _sheet(
    path: Path,
    sampled: Sampled,
    rows: Array,
    labels: Sequence[tuple[str, str]],
    columns: Sequence[str],
    name: str,
    title: str,
    size: int,
) -> None:
    from PIL import Image, ImageDraw, ImageFont

    n, m = rows.shape
    large, small = render(sampled.scenes[rows.ravel()], TILE), render(sampled.scenes[rows.ravel()], size)
    step = TILE + GAP
    sheet = Image.new("RGB", (LEFT + m * step + GAP, TITLE + TOP + n * step + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    fonts = {points: ImageFont.load_default(points) for points in (12, 14, 20)}
    draw.text((12, 10), f"{name}", fill=INK, font=fonts[20])
    draw.text((12, 36), f"{title} Inset: the {size} x {size} pixels that models see.", fill=FAINT, font=fonts[14])
    for j, text in enumerate(columns):
        draw.text((LEFT + j * step + TILE / 2, TITLE + TOP / 2), text, fill=INK, font=fonts[14], anchor="mm")
    inset = min(size, TILE // 3)
    for i, (text, below) in enumerate(labels):
        top = TITLE + TOP + i * step
        draw.text((12, top + TILE / 2 - 10), text, fill=INK, font=fonts[14], anchor="lm")
        draw.text((12, top + TILE / 2 + 10), below, fill=FAINT, font=fonts[12], anchor="lm")
        for j in range(m):
            left, k = LEFT + j * step, i * m + j
            sheet.paste(Image.fromarray(large[k]), (left, top))
            seen = Image.fromarray(small[k]).resize((inset, inset), Image.Resampling.NEAREST)
            corner = left + TILE - inset - 2, top + TILE - inset - 2
            draw.rectangle((corner[0] - 1, corner[1] - 1, corner[0] + inset, corner[1] + inset), outline=PAPER, width=1)
            sheet.paste(seen, corner)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)
