"""Seven solids made from round forms, each without a symmetry, so that every rotation of it is seen.

They stand where Causal3DIdent has the Utah teapot and six scanned models, whose files not everyone may pass on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .mesh import Mesh, ball, lathe, tube

Array = np.ndarray[Any, Any]

#: The largest dimension of every solid, that of the teapot in the published scene.
EXTENT = 4.44
DARK, DIM = 0.12, 0.4


def _curve(*points: tuple[float, ...], n: int = 14) -> Array:
    """(n, 3) points of a smooth curve through the given ones (Catmull-Rom)."""
    p = np.array(points, dtype=float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    at = np.linspace(0, len(p) - 3 - 1e-9, n)
    i, t = at.astype(int), (at % 1)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def _pot() -> Mesh:
    body = lathe([(0, 0), (0.75, 0), (1.25, 0.35), (1.45, 0.85), (1.35, 1.3), (1.0, 1.65), (0.9, 1.72), (0, 1.72)])
    lid = lathe([(0.92, 1.72), (0.8, 1.86), (0.4, 2.0), (0, 2.05)], tint=DIM) + ball((0, 0, 2.15), (0.2, 0.2, 0.2), tint=DARK)
    spout = tube(_curve((0, 1.1, 0.55), (0, 1.8, 0.75), (0, 2.0, 1.3), (0, 2.45, 1.65)), np.linspace(0.42, 0.18, 14))
    handle = tube(_curve((0, -1.2, 1.35), (0, -1.95, 1.4), (0, -2.05, 0.85), (0, -1.3, 0.45)), 0.16, tint=DARK)
    # One knob on one side, or the pot would be its own mirror image.
    return body + lid + spout + handle + ball((1.4, 0.15, 0.95), (0.22, 0.3, 0.3), tint=DARK)


def _hare() -> Mesh:
    body = ball((0, 0, 0.9), (0.8, 1.15, 0.85), tilt=0.35) + ball((0, -0.75, 0.6), (0.72, 0.7, 0.65))
    head = ball((0, 1.15, 1.85), (0.5, 0.62, 0.5)) + ball((0, 1.68, 1.75), (0.16, 0.16, 0.14), tint=DARK)
    ears = tube(_curve((0.2, 0.95, 2.2), (0.28, 0.8, 2.8), (0.4, 0.55, 3.3)), [0.17] * 4 + [0.2] * 6 + [0.16, 0.13, 0.1, 0.07])
    ears += tube(_curve((-0.2, 0.95, 2.2), (-0.4, 0.9, 2.6), (-0.85, 0.75, 2.75)), np.linspace(0.19, 0.09, 14), tint=DIM)
    legs = ball((0.45, 0.85, 0.3), (0.22, 0.6, 0.28)) + ball((-0.45, 0.95, 0.3), (0.22, 0.6, 0.28), tint=DIM)
    return body + head + ears + legs + ball((0, -1.45, 0.75), (0.32, 0.32, 0.32), tint=DARK)


def _serpent() -> Mesh:
    spine = _curve(
        (0.3, -2.1, 0.25), (-0.7, -1.4, 0.3), (0.6, -0.5, 0.35), (-0.5, 0.4, 0.45), (0.2, 1.1, 1.2), (0, 1.3, 2.0), n=36
    )
    body = tube(spine, np.concatenate([np.linspace(0.08, 0.48, 16), np.linspace(0.48, 0.33, 20)]))
    head = ball((0, 1.65, 2.25), (0.42, 0.68, 0.36), tilt=-0.2) + ball((0, 2.2, 2.1), (0.24, 0.32, 0.2), tint=DIM)
    crest = ball((0.1, 1.0, 2.35), (0.1, 0.5, 0.45), tilt=-0.7, tint=DARK)
    wing = ball((0.95, -0.05, 1.25), (0.85, 0.3, 0.14), tint=DARK) + ball((-0.9, 0.2, 0.95), (0.5, 0.22, 0.14), tint=DIM)
    return body + head + crest + wing


def _quadruped() -> Mesh:
    body = ball((0, 0, 1.45), (0.68, 1.3, 0.72)) + ball((0, -0.75, 1.5), (0.62, 0.62, 0.7), tint=DIM)
    body += ball((0.5, 0.35, 1.5), (0.26, 0.4, 0.4), tint=DARK)
    neck = tube(_curve((0, 0.95, 1.75), (0, 1.4, 2.2), (0, 1.65, 2.5)), np.linspace(0.45, 0.3, 14))
    head = ball((0, 1.95, 2.5), (0.36, 0.6, 0.36), tilt=-0.4) + ball((0, 2.4, 2.3), (0.25, 0.24, 0.22), tint=DARK)
    horns = tube(_curve((0.2, 1.75, 2.8), (0.5, 1.7, 3.05), (0.55, 1.8, 3.35)), np.linspace(0.11, 0.05, 14), tint=DARK)
    horns += tube(_curve((-0.2, 1.75, 2.8), (-0.45, 1.7, 2.95)), np.linspace(0.11, 0.07, 14), tint=DARK)
    legs = tube([(0.4, 0.85, 1.1), (0.42, 0.9, 0.2)], 0.22) + tube([(-0.4, 0.85, 1.1), (-0.45, 1.25, 0.25)], 0.22)
    legs += tube([(0.4, -0.9, 1.1), (0.42, -1.15, 0.2)], 0.24) + tube([(-0.4, -0.9, 1.1), (-0.4, -0.85, 0.2)], 0.24)
    tail = tube(_curve((0, -1.3, 1.75), (0.1, -1.75, 1.6), (0.25, -1.9, 0.9)), 0.1) + ball(
        (0.27, -1.92, 0.75), (0.2, 0.2, 0.28), tint=DARK
    )
    return body + neck + head + horns + legs + tail


def _figure() -> Mesh:
    body = ball((0, 0, 2.0), (0.6, 0.75, 0.95)) + ball((0.3, 0, 1.9), (0.42, 0.5, 0.6), tint=DIM)
    head = ball((0.05, 0.1, 3.3), (0.5, 0.48, 0.55)) + ball((0.55, 0.15, 3.2), (0.24, 0.18, 0.16), tint=DARK)
    arms = tube(_curve((0, 0.6, 2.55), (0.15, 1.3, 2.7), (0.35, 1.7, 3.4)), np.linspace(0.26, 0.2, 14))
    arms += tube(_curve((0, -0.6, 2.5), (0.2, -1.15, 1.9), (0.8, -1.2, 1.6)), np.linspace(0.26, 0.2, 14))
    arms += ball((0.37, 1.75, 3.55), (0.25, 0.25, 0.28), tint=DARK) + ball((0.9, -1.2, 1.6), (0.25, 0.25, 0.25), tint=DIM)
    legs = tube(_curve((0, 0.35, 1.3), (0.1, 0.55, 0.7), (0.0, 0.6, 0.15)), 0.28)
    legs += tube(_curve((0, -0.35, 1.3), (0.45, -0.5, 0.8), (0.2, -0.6, 0.15)), 0.28)
    tail = tube(_curve((-0.5, 0, 1.3), (-1.1, 0.1, 0.8), (-1.6, 0.4, 0.9)), np.linspace(0.3, 0.08, 14), tint=DARK)
    feet = ball((0.25, 0.6, 0.12), (0.45, 0.26, 0.16)) + ball((0.45, -0.6, 0.12), (0.45, 0.26, 0.16), tint=DARK)
    return body + head + arms + legs + tail + feet


def _knot() -> Mesh:
    t = 2 * np.pi * np.arange(90) / 90
    ring = np.stack([0.8 * np.sin(3 * t), (np.cos(t) - 2 * np.cos(2 * t)) * 0.85, (np.sin(t) + 2 * np.sin(2 * t)) * 0.85], axis=1)
    thick = 0.38 + 0.16 * np.cos(t)
    mesh = tube(ring, thick, closed=True)
    # It darkens along its course: no turn brings it back onto itself.
    tints = np.repeat(np.interp(np.cos(t + 0.6), [-1, 0.2, 1], [DARK, 1, 1]), 12)
    return Mesh(mesh.vertices, mesh.normals, tints, mesh.faces)


def _bust() -> Mesh:
    base = lathe([(0, 0), (1.15, 0), (1.15, 0.25), (0.75, 0.4), (0.5, 0.6), (0.5, 0.8), (0, 0.8)], tint=DIM)
    chest = ball((0, 0, 1.25), (0.7, 1.25, 0.6))
    neck = tube([(0, 0.05, 1.6), (0.1, 0.1, 2.3)], 0.42)
    skull = ball((0.05, 0.1, 3.05), (0.82, 0.7, 0.88)) + ball((0.35, 0.1, 2.65), (0.55, 0.52, 0.5))
    nose = ball((0.95, 0.12, 2.9), (0.26, 0.16, 0.26), tilt=0.2)
    hair = ball((-0.2, 0.05, 3.25), (0.8, 0.78, 0.85), tint=DARK) + ball((-0.95, -0.1, 2.7), (0.35, 0.35, 0.6), tint=DARK)
    ears = ball((0.0, 0.82, 2.85), (0.2, 0.14, 0.28)) + ball((0.0, -0.62, 2.85), (0.2, 0.14, 0.28), tint=DIM)
    hat = ball((0.1, -0.35, 3.9), (0.3, 0.3, 0.3), tint=DIM)
    return base + chest + neck + skull + nose + hair + ears + hat


_MADE: dict[str, Callable[[], Mesh]] = {
    "pot": _pot,
    "hare": _hare,
    "serpent": _serpent,
    "quadruped": _quadruped,
    "figure": _figure,
    "knot": _knot,
    "bust": _bust,
}
SHAPES = tuple(_MADE)


@cache
def shape(name: str) -> Mesh:
    """A solid of `SHAPES` around the origin, its largest dimension `EXTENT`; at rest its face looks along y or towards the eye."""
    return _MADE[name]().fitted(EXTENT)
