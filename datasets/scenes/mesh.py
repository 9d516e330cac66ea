"""Solids of triangles: a few round forms that others are put together from, and a reader of OBJ files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.errors import DataError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Mesh:
    """Triangles with smooth normals.

    Parameters
    ----------
    vertices
        (V, 3) float64; z is up.
    normals
        (V, 3) unit vectors.
    tints
        (V,) share of the object's colour that a place reflects, in (0, 1]: darker parts tell front from back.
    faces
        (F, 3) int64.
    """

    vertices: Array
    normals: Array
    tints: Array
    faces: Array

    def __add__(self, other: Mesh) -> Mesh:
        return Mesh(
            np.concatenate([self.vertices, other.vertices]),
            np.concatenate([self.normals, other.normals]),
            np.concatenate([self.tints, other.tints]),
            np.concatenate([self.faces, other.faces + len(self.vertices)]),
        )

    def fitted(self, extent: float) -> Mesh:
        """The same around the origin, its largest dimension `extent`."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        scale = extent / (high - low).max()
        return Mesh((self.vertices - (low + high) / 2) * scale, self.normals, self.tints, self.faces)


def of_triangles(vertices: Array, faces: Array, tint: float = 1.0) -> Mesh:
    """A mesh whose normal at a vertex is the mean of its triangles', weighted by their areas."""
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], across)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return Mesh(vertices, normals / np.maximum(length, 1e-12), np.full(len(vertices), tint), faces)


def ball(centre: Sequence[float], radii: Sequence[float], *, tilt: float = 0.0, tint: float = 1.0, n: int = 14) -> Mesh:
    """An ellipsoid, turned by `tilt` radians about the x axis (from y towards z)."""
    up = np.linspace(0, np.pi, n)
    rings = np.stack([np.sin(up), np.cos(up)], axis=1)
    around = 2 * np.pi * np.arange(2 * n) / (2 * n)
    unit = np.stack(
        [
            rings[:, :1] * np.cos(around),
            rings[:, :1] * np.sin(around),
            np.repeat(rings[:, 1:], 2 * n, axis=1),
        ],
        axis=-1,
    ).reshape(-1, 3)
    c, s = np.cos(tilt), np.sin(tilt)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    r = np.asarray(radii, dtype=float)
    normals = (unit / r) @ turn.T
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Mesh((unit * r) @ turn.T + centre, normals, np.full(len(unit), tint), _grid(n, 2 * n))


def tube(path: Any, radii: Any, *, tint: float = 1.0, n: int = 12, closed: bool = False) -> Mesh:
    """A round tube along (m, 3) points with a radius at each (or one for all); open ends are capped by half balls.

    Parameters
    ----------
    closed
        Whether the last point is joined to the first.
    """
    path = np.asarray(path, dtype=float)
    m = len(path)
    radii = np.broadcast_to(np.asarray(radii, dtype=float), m)
    along = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0) if closed else np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.zeros((m, 3))
    # A frame that turns as little as possible from point to point.
    start = np.eye(3)[np.argmin(np.abs(along[0]))]
    for i in range(m):
        start = start - (start @ along[i]) * along[i]
        start = start / np.linalg.norm(start)
        side[i] = start
    other = np.cross(along, side)
    around = 2 * np.pi * np.arange(n) / n
    ring = np.cos(around)[None, :, None] * side[:, None] + np.sin(around)[None, :, None] * other[:, None]
    surface = path[:, None] + radii[:, None, None] * ring
    faces = _grid(m, n)
    if closed:
        # The frame comes back turned: the last ring is joined to the first at the nearest vertex.
        offset = int(np.argmin(np.linalg.norm(surface[0] - surface[-1, 0], axis=1)))
        j = np.arange(n)
        a, b = (m - 1) * n + j, (m - 1) * n + (j + 1) % n
        c, d = (j + offset) % n, (j + 1 + offset) % n
        faces = np.concatenate([faces, np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    mesh = Mesh(surface.reshape(-1, 3), ring.reshape(-1, 3), np.full(m * n, tint), faces)
    if closed:
        return mesh
    ends = [ball(path[i], (radii[i],) * 3, tint=tint, n=7) for i in (0, -1)]
    return mesh + ends[0] + ends[1]


def lathe(profile: Any, *, tint: float = 1.0, n: int = 28) -> Mesh:
    """The solid that (m, 2) points (radius, height) sweep around the z axis."""
    profile = np.asarray(profile, dtype=float)
    around = 2 * np.pi * np.arange(n) / n
    x, y = profile[:, :1] * np.cos(around), profile[:, :1] * np.sin(around)
    vertices = np.stack([x, y, np.repeat(profile[:, 1:], n, axis=1)], axis=-1).reshape(-1, 3)
    return of_triangles(vertices, _grid(len(profile), n)[:, ::-1], tint)


def read_obj(path: Path) -> Mesh:
    """Vertices and faces of a Wavefront OBJ file; y, which is up there, becomes z, and polygons become fans of triangles.

    Raises
    ------
    DataError
        If the file holds no face, or a face names a vertex that is not there.
    """
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        kind, *rest = line.split() or [""]
        try:
            if kind == "v":
                x, y, z = map(float, rest[:3])
                vertices.append([x, -z, y])
            elif kind == "f":
                corners = [int(r.split("/")[0]) for r in rest]
                corners = [i - 1 if i > 0 else len(vertices) + i for i in corners]
                faces += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
        except ValueError:
            raise DataError(f"{path}, line {number}: '{line.strip()[:60]}' is no vertex or face of an OBJ file.") from None
    where = np.array(faces, dtype=np.int64).reshape(-1, 3)
    if not len(where) or where.min() < 0 or where.max() >= len(vertices):
        raise DataError(f"{path}: it holds no face, or a face of a vertex that is not there; export it with v and f lines.")
    return of_triangles(np.array(vertices), where)


def _grid(rows: int, columns: int) -> Array:
    """(F, 3) two triangles for each cell of a grid of vertices whose columns close up."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]).astype(np.int64)
