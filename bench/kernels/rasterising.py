"""Triangles seen from a point: which one covers each sample, and how much light it sends back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import compiled

Array = np.ndarray[Any, Any]


def rasterise(projected: Array, faces: Array, size: int) -> tuple[Array, Array, Array]:
    """Which triangle is nearest at the centre of each cell of a square grid.

    Parameters
    ----------
    projected
        (V, 3) float64: column and row of each vertex in cells, and its nearness, a positive number that is linear on the grid
        within a triangle and larger for what lies nearer: 1 / depth of a perspective, or minus depth plus a constant.
    faces
        (F, 3) int64 vertices of each triangle, in either sense of rotation.
    size
        Rows and columns of the grid.

    Returns
    -------
    tuple
        (size, size) nearness, 0 where nothing is; (size, size) int64 triangle, -1 where nothing is; and (size, size, 2) weights of
        the first two vertices of that triangle, on the grid (not yet in space). Of two triangles that are equally near, the
        one with the lower number is seen.
    """
    return _rasterise(np.ascontiguousarray(projected, dtype=np.float64), np.ascontiguousarray(faces, dtype=np.int64), size)


@compiled
def _rasterise(projected, faces, size):
    near, face = np.zeros((size, size)), np.full((size, size), -1, dtype=np.int64)
    weight = np.zeros((size, size, 2))
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = projected[a, 0], projected[a, 1], projected[a, 2]
        bx, by, bz = projected[b, 0], projected[b, 1], projected[b, 2]
        cx, cy, cz = projected[c, 0], projected[c, 1], projected[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or min(az, bz, cz) <= 0.0:
            continue
        left = max(0, math.ceil(min(ax, bx, cx) - 0.5))
        right = min(size - 1, math.floor(max(ax, bx, cx) - 0.5))
        top = max(0, math.ceil(min(ay, by, cy) - 0.5))
        bottom = min(size - 1, math.floor(max(ay, by, cy) - 0.5))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                z = u * az + v * bz + w * cz
                if z > near[row, column]:
                    near[row, column], face[row, column] = z, f
                    weight[row, column, 0], weight[row, column, 1] = u, v
    return near, face, weight


@compiled
def lit_share(near, column, row, nearness, bias):
    """Share of 3 x 3 cells of a shadow map around a place where nothing lies nearer to the lamp than the place itself.

    Outside of the map there is light. `bias` is the part of the nearness by which a surface may hide itself.
    """
    size = len(near)
    lit = 0.0
    for i in range(-1, 2):
        for j in range(-1, 2):
            r, c = math.floor(row) + i, math.floor(column) + j
            if r < 0 or c < 0 or r >= size or c >= size or near[r, c] * (1.0 - bias) <= nearness:
                lit += 1.0
    return lit / 9.0


@compiled
def surface(near, face, weight, projected_near, faces, vertices, normals, tints, view, ground):
    """What each sample of a grid shows: (S, S, 3) places, (S, S, 3) unit normals towards the viewer, (S, S) tints.

    Where no triangle is, it is the ground, a plane of constant height, whose tint is -1.

    Parameters
    ----------
    near, face, weight
        Of `rasterise`.
    projected_near
        (V,) nearness of each vertex.
    vertices, normals, tints
        (V, 3), (V, 3) and (V,) of the vertices in space.
    view
        (5, 3): the eye, the directions right, down and forward on the grid (unit vectors), and in the last row first the tangent
        of half the field of view.
    ground
        Height of the ground.
    """
    size = len(near)
    place, normal, tint = np.zeros((size, size, 3)), np.zeros((size, size, 3)), np.full((size, size), -1.0)
    half = view[4, 0]
    for row in range(size):
        for column in range(size):
            f = face[row, column]
            if f < 0:
                x, y = (2.0 * (column + 0.5) / size - 1.0) * half, (2.0 * (row + 0.5) / size - 1.0) * half
                down = view[3, 2] + x * view[1, 2] + y * view[2, 2]
                t = (ground - view[0, 2]) / down if down < 0.0 else 1e9
                for k in range(3):
                    place[row, column, k] = view[0, k] + t * (view[3, k] + x * view[1, k] + y * view[2, k])
                normal[row, column, 2] = 1.0
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            # Weights on the grid become weights in space when each is multiplied by the nearness of its vertex.
            u = weight[row, column, 0] * projected_near[a] / near[row, column]
            v = weight[row, column, 1] * projected_near[b] / near[row, column]
            w = 1.0 - u - v
            length = facing = 0.0
            for k in range(3):
                place[row, column, k] = u * vertices[a, k] + v * vertices[b, k] + w * vertices[c, k]
                normal[row, column, k] = u * normals[a, k] + v * normals[b, k] + w * normals[c, k]
                length += normal[row, column, k] ** 2
                facing += normal[row, column, k] * (view[0, k] - place[row, column, k])
            scale = (1.0 if facing >= 0.0 else -1.0) / max(math.sqrt(length), 1e-12)
            for k in range(3):
                normal[row, column, k] *= scale
            tint[row, column] = u * tints[a] + v * tints[b] + w * tints[c]
    return place, normal, tint


@compiled
def averaged(radiance, times):
    """(S/times, S/times, 3) uint8 of (S, S, 3) linear light: the mean of each block, clipped, with the curve of sRGB."""
    size = len(radiance) // times
    out = np.zeros((size, size, 3), dtype=np.uint8)
    for row in range(size):
        for column in range(size):
            for k in range(3):
                total = 0.0
                for i in range(times):
                    for j in range(times):
                        total += radiance[row * times + i, column * times + j, k]
                value = min(max(total / (times * times), 0.0), 1.0)
                value = 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1.0 / 2.4) - 0.055
                out[row, column, k] = int(255.0 * value + 0.5)
    return out
