"""Sampled scenes as a screen of pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...bench.contracts.latents import GroundTruth
from ...bench.contracts.screen import DatasetCard, Screen
from ..latent import cells
from . import blender, renderer
from .scene import Scenes

Array = np.ndarray[Any, Any]

#: What can draw: the loops of this package, or Blender in an interpreter of its own.
RENDERERS = ("raster", "blender")
#: Pictures that are drawn before their pixels become numbers of four bytes each.
CHUNK = 512


@dataclass(frozen=True)
class Sampled:
    """Scenes before they are drawn.

    Parameters
    ----------
    scenes
        n of them.
    columns
        Of obs, (n,) each; ``perturbation`` among them.
    truth
        The latent variables behind them.
    """

    scenes: Scenes
    columns: dict[str, Array]
    truth: GroundTruth


def imaged(sampled: Sampled, card: DatasetCard, *, size: int, drawn_by: str = "raster") -> Screen:
    """Draw the scenes: X is dense float32, the pixels row by row, red, green and blue of each, in steps of 1/255 from 0 to 1."""
    n = len(sampled.scenes)
    X = np.empty((n, size * size * 3), dtype=np.float32)
    for start in range(0, n, CHUNK):
        part = sampled.scenes[start : start + CHUNK]
        drawn = blender.render(part, size) if drawn_by == "blender" else renderer.render(part, size)
        X[start : start + CHUNK] = drawn.reshape(len(drawn), -1)
    X /= np.float32(255)
    adata = cells.annotated(X, sampled.columns)
    adata.uns["image_shape"] = np.array([size, size, 3])
    sampled.truth.write(adata)
    perturbations = len(sampled.truth.perturbations) - 1
    return Screen(adata, replace(card, n_cells=n, n_genes=X.shape[1], n_perturbations=perturbations))
