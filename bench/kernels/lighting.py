"""Light that surfaces send to the eye: one spotlight with shadows, and two lamps overhead that share a shadow map."""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled
from .rasterising import lit_share


@compiled
def radiance(place, normal, tint, colours, eye, spot, spot_near, overhead, overhead_near, gloss):
    """(S, S, 3) linear light that each sample sends to the eye: Lambert's law, and a highlight of the spotlight on the object.

    Parameters
    ----------
    place, normal, tint
        Of `rasterising.surface`.
    colours
        (3, 3) reflectance of the object, colour of the spotlight, reflectance of the ground.
    eye
        (3,) place of the viewer.
    spot
        (6, 3): the five rows of a view (see `rasterising.surface`) from the spotlight along its axis, and in the sixth its power in
        watts, the cosine of its cone's edge, and the width of the soft edge as a share of the cone (of cosines).
    spot_near
        (M, M) shadow map of the spotlight: nearness 1 / depth in that view.
    overhead
        (3, 3): column and row of the map of the world's origin and cells a unit; irradiance of the sun, radiant exitance over pi of a
        lamp of area 1 that faces down, and its height; then the height from which the map's nearness is counted down.
    overhead_near
        (M, M) shadow map from straight above: nearness height - constant.
    gloss
        Share of the light in the highlight, and its exponent.
    """
    size, cells = len(place), len(spot_near)
    out = np.zeros((size, size, 3))
    half, power, edge, soft = spot[4, 0], spot[5, 0], spot[5, 1], spot[5, 2]
    for row in range(size):
        for column in range(size):
            x, y, z = place[row, column, 0], place[row, column, 1], place[row, column, 2]
            nx, ny, nz = normal[row, column, 0], normal[row, column, 1], normal[row, column, 2]
            # Overhead: the sun shines straight down, the small lamp hangs above the origin.
            shone = glint = above = 0.0
            if nz > 0.0:
                above = overhead[1, 0] * nz
            lx, ly, lz = -x, -y, overhead[1, 2] - z
            square = lx * lx + ly * ly + lz * lz
            facing = nx * lx + ny * ly + nz * lz
            if facing > 0.0 and lz > 0.0:
                above += overhead[1, 1] * facing * lz / (square * square)
            if above > 0.0:
                c, r = overhead[0, 0] + overhead[0, 2] * y, overhead[0, 1] + overhead[0, 2] * x
                above *= lit_share(overhead_near, c, r, z - overhead[2, 0], 0.02)
            lx, ly, lz = spot[0, 0] - x, spot[0, 1] - y, spot[0, 2] - z
            distance = math.sqrt(lx * lx + ly * ly + lz * lz)
            lx, ly, lz = lx / distance, ly / distance, lz / distance
            facing = nx * lx + ny * ly + nz * lz
            along = -(lx * spot[3, 0] + ly * spot[3, 1] + lz * spot[3, 2])
            if facing > 0.0 and along > edge:
                cone = min(1.0, (along - edge) / ((1.0 - edge) * soft))
                cone = cone * cone * (3.0 - 2.0 * cone)
                depth = along * distance
                right = -(lx * spot[1, 0] + ly * spot[1, 1] + lz * spot[1, 2]) * distance
                down = -(lx * spot[2, 0] + ly * spot[2, 1] + lz * spot[2, 2]) * distance
                c, r = (right / (depth * half) + 1.0) * cells / 2.0, (down / (depth * half) + 1.0) * cells / 2.0
                lit = cone * lit_share(spot_near, c, r, 1.0 / depth, 0.012)
                arriving = power / (4.0 * math.pi * distance * distance) * lit
                shone = arriving * facing
                if tint[row, column] >= 0.0 and gloss[0] > 0.0:
                    ex, ey, ez = eye[0] - x, eye[1] - y, eye[2] - z
                    far = math.sqrt(ex * ex + ey * ey + ez * ez)
                    hx, hy, hz = lx + ex / far, ly + ey / far, lz + ez / far
                    cosine = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz)
                    if cosine > 0.0:
                        glint = gloss[0] * arriving * cosine ** gloss[1]
            for k in range(3):
                own = colours[2, k] if tint[row, column] < 0.0 else colours[0, k] * tint[row, column]
                out[row, column, k] = (own * (above + shone * colours[1, k]) + glint * colours[1, k]) / math.pi
    return out
