"""Pictures of scenes from triangles, with shadows: the same bytes in every process, whatever else is rendered with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...bench.kernels.lighting import radiance
from ...bench.kernels.rasterising import averaged, rasterise, surface
from .mesh import Mesh
from .scene import GROUND, Scenes, view
from .shapes import SHAPES, shape

Array = np.ndarray[Any, Any]

#: The camera: a lens of 35 on a sensor of 50.
CAMERA = view((8.0, 0.0, 8.0), (0.0, 0.0, 0.0), 25 / 35)
#: Spotlight: watts, the whole angle of its cone in degrees, and its soft edge.
WATTS, CONE, SOFT = 3000.0, 35.0, 0.1
#: Irradiance of the sun, and watts of the lamp of area 1 that hangs at this height.
SUN, LAMP_WATTS, LAMP_HEIGHT = 0.5, 39.27, 7.0
#: A highlight that tells the spotlight's colour from the object's, as the rubber of the published scene does.
GLOSS = np.array([0.12, 24.0])
#: Cells of a shadow map, and half the width in units of the one from above.
SHADOW_CELLS, ABOVE = 96, 5.2
#: Counted from here, the heights of all that is above the ground are positive.
BELOW = GROUND - 1.0


def render(scenes: Scenes, size: int, *, meshes: Sequence[Mesh] | None = None) -> Array:
    """(n, size, size, 3) uint8 pictures.

    Parameters
    ----------
    size
        Width and height in pixels.
    meshes
        Solids that ``scenes.shape`` counts through; `SHAPES` by default.
    """
    solids = [shape(name) for name in SHAPES] if meshes is None else meshes
    out = np.empty((len(scenes), size, size, 3), dtype=np.uint8)
    parts = zip(scenes.places, scenes.rotations, scenes.lamps, scenes.colours, scenes.shape, strict=True)
    for i, (place, turn, lamp, colours, kind) in enumerate(parts):
        out[i] = _picture(solids[kind], place, turn, lamp, colours, size)
    return out


def samples(size: int) -> int:
    """Samples along each side of a pixel: 3 in small pictures, 2 in others."""
    return 3 if size <= 48 else 2


def project(points: Array, seen_from: Array, cells: int) -> Array:
    """(V, 3) column, row and nearness 1 / depth of points in a perspective view on a grid of cells; see `rasterise`."""
    away = points - seen_from[0]
    # Sums of products by einsum: their rounding does not depend on the library for linear algebra.
    right, down, depth = (np.einsum("vk,k->v", away, seen_from[k]) for k in (1, 2, 3))
    near = 1 / np.where(depth > 1e-6, depth, np.inf)
    half = cells / 2
    return np.stack([half + half * right * near / seen_from[4, 0], half + half * down * near / seen_from[4, 0], near], axis=1)


def _picture(solid: Mesh, place: Array, turn: Array, lamp: Array, colours: Array, size: int) -> Array:
    vertices = np.einsum("ij,vj->vi", turn, solid.vertices) + place
    normals = np.einsum("ij,vj->vi", turn, solid.normals)
    fine = samples(size)
    seen = project(vertices, CAMERA, size * fine)
    near, face, weight = rasterise(seen, solid.faces, size * fine)
    spots = surface(
        near, face, weight, np.ascontiguousarray(seen[:, 2]), solid.faces, vertices, normals, solid.tints, CAMERA, GROUND
    )
    edge = np.radians(CONE / 2)
    spot = view(lamp, place, np.tan(edge))
    from_spot, _, _ = rasterise(project(vertices, spot, SHADOW_CELLS), solid.faces, SHADOW_CELLS)
    middle, scale = SHADOW_CELLS / 2, SHADOW_CELLS / (2 * ABOVE)
    flat = np.stack([middle + scale * vertices[:, 1], middle + scale * vertices[:, 0], vertices[:, 2] - BELOW], axis=1)
    from_above, _, _ = rasterise(flat, solid.faces, SHADOW_CELLS)
    overhead = np.array([[middle, middle, scale], [SUN, LAMP_WATTS / np.pi, LAMP_HEIGHT], [BELOW, 0, 0]])
    lit = radiance(
        *spots,
        colours,
        CAMERA[0],
        np.concatenate([spot, [[WATTS, np.cos(edge), SOFT]]]),
        from_spot,
        overhead,
        from_above,
        GLOSS,
    )
    return averaged(lit, fine)
