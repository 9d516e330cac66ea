"""The two rendered data sets: static scenes and trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from ...bench.contracts.screen import Dataset
from ...bench.kernels import lighting, rasterising
from ..latent import cells, process
from ..latent.generated import generated
from . import blender, blender_script, imaging, lite_static, lite_temporal, mesh, renderer, scene, shapes
from .picture import static_sheet, temporal_sheet

#: All whose syntax decides what is in the pictures.
DRAWING = (blender, blender_script, cells, imaging, lighting, mesh, rasterising, renderer, scene, shapes)


def _pictured(dataset: Dataset, sheet: Callable[..., None]) -> Dataset:
    """The same with a contact sheet, which follows the dials."""
    make = dataset.generate
    assert make is not None
    parameters = dict(dataset.parameters)
    return replace(
        dataset, generate=lambda **dials: _pictured(make(**dials), sheet), picture=lambda path: sheet(path, **parameters)
    )


def _dataset(module: ModuleType, sheet: Callable[..., None], *others: ModuleType) -> Dataset:
    return _pictured(generated(module.simulate, module.CARD, (module, *others, *DRAWING)), sheet)


C3DI_LITE_STATIC = _dataset(lite_static, static_sheet)
C3DI_LITE_TEMPORAL = _dataset(lite_temporal, temporal_sheet, process)
