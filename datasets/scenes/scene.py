"""Variables of a scene between -1 and 1, and what they mean: places, angles and colours.

The scene is that of 3DIdent and Causal3DIdent: a camera at (8, 0, 8) that looks at the origin, an object above a coloured plane, a
coloured spotlight that goes around and tracks the object, and two white lamps overhead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .shapes import EXTENT

Array = np.ndarray[Any, Any]

#: Variables of a scene in the order of the published files.
VARIABLES = ("x", "y", "z", "roll", "pitch", "yaw", "spot_angle", "object_hue", "spot_hue", "background_hue")
#: What -1 and 1 mean: two units for places; for angles a quarter turn, so that no variable comes back onto itself.
REACH, QUARTER = 2.0, np.pi / 2
#: Saturation of the three colours in the published scene.
SATURATION = {"object_hue": 1.0, "spot_hue": 0.8, "background_hue": 0.6}
#: Height of the plane, and of the spotlight's circle of radius 4 above the origin.
GROUND, SPOT_RADIUS, SPOT_HEIGHT = -EXTENT, 4.0, 6.0 + EXTENT


@dataclass(frozen=True)
class Scenes:
    """n scenes.

    Parameters
    ----------
    raw
        (n, 10) `VARIABLES` between -1 and 1.
    shape
        (n,) int64 index into `SHAPES`.
    white
        Whether the spotlight is white; its hue then means nothing.
    """

    raw: Array
    shape: Array
    white: bool = False

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, rows: Any) -> Scenes:
        return Scenes(self.raw[rows], self.shape[rows], self.white)

    def column(self, name: str) -> Array:
        return self.raw[:, VARIABLES.index(name)]

    @property
    def places(self) -> Array:
        """(n, 3) centre of the object."""
        return REACH * self.raw[:, :3] + [0, 0, EXTENT / 2]

    @property
    def rotations(self) -> Array:
        """(n, 3, 3) that turn the object: about x by the roll, then about y by the pitch, then about z by the yaw."""
        return rotation(*(QUARTER * self.raw[:, 3:6]).T)

    @property
    def lamps(self) -> Array:
        """(n, 3) place of the spotlight."""
        angle = QUARTER * self.column("spot_angle")
        return np.stack([SPOT_RADIUS * np.sin(angle), SPOT_RADIUS * np.cos(angle), np.full(len(self), SPOT_HEIGHT)], axis=1)

    @property
    def colours(self) -> Array:
        """(n, 3, 3) linear red, green and blue of the object, the spotlight and the plane."""
        spot = 0.0 if self.white else SATURATION["spot_hue"]
        kinds = (("object_hue", SATURATION["object_hue"]), ("spot_hue", spot), ("background_hue", SATURATION["background_hue"]))
        return np.stack([rgb(QUARTER * self.column(name), saturation) for name, saturation in kinds], axis=1)


def scenes(columns: dict[str, Array], shape: Array, *, white: bool = False) -> Scenes:
    """Scenes with some variables given by name (n,) and the others in the middle, at 0."""
    raw = np.zeros((len(shape), len(VARIABLES)))
    for name, values in columns.items():
        raw[:, VARIABLES.index(name)] = values
    return Scenes(raw, np.asarray(shape, dtype=np.int64), white)


def rgb(angle: Array, saturation: float) -> Array:
    """(n, 3) red, green and blue of full value at a hue angle in radians, red at 0.

    Each channel is 1 within a sixth of the circle of its own hue, 1 - saturation beyond a third, and straight in between.
    """
    centres = 2 * np.pi / 3 * np.arange(3)
    away = np.abs((np.asarray(angle)[:, None] - centres + np.pi) % (2 * np.pi) - np.pi)
    return 1 - saturation * np.clip(away * 3 / np.pi - 1, 0, 1)


def rotation(roll: Array, pitch: Array, yaw: Array) -> Array:
    """(n, 3, 3) Rz(yaw) Ry(pitch) Rx(roll)."""
    return _about(2, yaw) @ _about(1, pitch) @ _about(0, roll)


def _about(axis: int, angle: Array) -> Array:
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((len(angle), 3, 3))
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = np.cos(angle)
    out[:, j, i], out[:, i, j] = np.sin(angle), -np.sin(angle)
    return out


def view(eye: Sequence[float] | Array, target: Sequence[float] | Array, tangent: float) -> Array:
    """(5, 3): the eye, its directions right, down and forward (z is up), and the tangent of half its field of view."""
    eye = np.asarray(eye, dtype=float)
    forward = np.asarray(target, dtype=float) - eye
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    return np.stack([eye, right, np.cross(forward, right), forward, [tangent, 0.0, 0.0]])
