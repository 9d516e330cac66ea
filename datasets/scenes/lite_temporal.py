"""Scenes that perturbations redirect from one instant to the next, beside what stays: a lite stand-in of Temporal-Causal3DIdent."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import combinations
from operator import add
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import GroundTruth
from ...bench.contracts.screen import DatasetCard, Screen
from ..latent import process
from ..latent.generated import at_least, choice
from .imaging import RENDERERS, Sampled, imaged
from .scene import scenes
from .shapes import SHAPES

Array = np.ndarray[Any, Any]

MODES = ("paired", "snapshot", "endpoint")
#: Variables that follow the process; a perturbation bears the name of the one on which it acts.
RESPONSIVE = ("x", "y", "yaw", "spot_angle", "object_hue")
INVARIANT = ("background_hue", "class")
#: Share of the usual shift of a process' drive, which would carry objects out of the picture.
STRENGTH = 0.4
#: Standard deviation of the effects of the background hue; more, and it would tell where the object is.
INVARIANT_EFFECT = 0.05
#: Standard deviations of the unperturbed process at which a variable of the scene is at tanh(1) = .76 of its range.
WIDTH = 1.5
#: Unperturbed units that fix the scale.
REFERENCE = 20_000

CARD = DatasetCard(
    name="c3di-lite-temporal",
    title="SIMULATED pictures, a LITE stand-in of Temporal-Causal3DIdent: 3 solids whose scenes perturbations redirect in time",
    source="rendered by pbench.datasets.scenes.lite_temporal.simulate",
    licence="CC0 (generated)",
    scale="raw",
    control_label="control",
    modality="simulated",
    citation="scene after von Kügelgen et al., NeurIPS 2021, and Lippe et al., ICML 2022 (CITRIS); no picture of theirs is used",
    n_cells=6600,
    n_genes=3072,
    n_perturbations=10,
    simulated=True,
    default_split="units",
    known_defects=(
        "lite: own solids, own dynamics, own renderer; never to be compared with numbers on the published Causal3DIdent",
        "simulated: each unit is seen at all times (mode=paired); cells that are killed to be measured are mode=snapshot",
    ),
)


def simulate(
    *,
    seed: int = 0,
    mode: str = "paired",
    size: int = 32,
    n_classes: int = 3,
    n_doubles: int = 5,
    n_times: int = 6,
    units_per_perturbation: int = 100,
    renderer: str = "raster",
) -> Screen:
    r"""Draw scenes whose variables follow a process that perturbations change.

    Place across (x towards the camera, y to the right), rotation about the vertical, the spotlight's angle and the object's hue follow
    a non-linear autoregressive `Process` with lag 1 that the background hue also drives. A unit keeps its background hue and its
    solid; no perturbation reaches them, and the solid has no effect. A perturbation changes the mechanism of one variable, a pair
    that of two, as in ``latent-temporal``, with .4 of its shift. A variable z with mean 0 and variance 1 in unperturbed units is
    :math:`\tanh(z / 1.5)` in the scene, where 1 is two units of length or a quarter turn; that is the latent variable that a
    model is to find. Height, the other two rotations and the white spotlight's colour do not change.

    Parameters
    ----------
    seed
        Fixes every byte. The process, each perturbation and the units of each have streams of their own: another number of
        units or pairs leaves the rest as it is.
    mode
        ``paired``: each unit is seen at all times. ``snapshot``: a unit is seen at one time, with as many pictures in all.
        ``endpoint``: the same at the last time only; the screen then has no times.
    size
        Width and height of the pictures in pixels, 16 to 256.
    n_classes
        Solids, the first ones of `SHAPES`, 1 to 7. With all 7 the rotation is hard to see in 32 pixels.
    n_doubles
        Pairs of perturbations, up to 10.
    n_times
        Times 0, 1, … at which scenes are seen; at 0 no perturbation acts yet.
    units_per_perturbation
        Units of each perturbation, and control units; other modes see `n_times` times as many units once.
    renderer
        ``raster``, or ``blender`` where an interpreter with bpy is named by ``PBENCH_BPY_PYTHON``.

    Returns
    -------
    Screen
        Scale ``raw``, pixels in [0, 1], ``uns["image_shape"]``, ``time`` and ``unit`` (except in mode ``endpoint``) and a
        `GroundTruth` of 7 variables, the class among them.

    Raises
    ------
    UsageError
        If a dial is turned beyond what it allows, or no interpreter is named for Blender.
    """
    choice(renderer=(renderer, RENDERERS))
    at_least(size=(size, 16), largest_size=(256 - size, 0))
    sampled = sample(
        seed=seed,
        mode=mode,
        n_classes=n_classes,
        n_doubles=n_doubles,
        n_times=n_times,
        units_per_perturbation=units_per_perturbation,
    )
    return imaged(sampled, CARD, size=size, drawn_by=renderer)


def sample(*, seed: int, mode: str, n_classes: int, n_doubles: int, n_times: int, units_per_perturbation: int) -> Sampled:
    """The scenes of `simulate` before they are drawn."""
    choice(mode=(mode, MODES))
    at_least(n_times=(n_times, 2), units_per_perturbation=(units_per_perturbation, 1))
    pairs = list(combinations(RESPONSIVE, 2))
    if not (1 <= n_classes <= len(SHAPES) and 0 <= n_doubles <= len(pairs)):
        raise UsageError(
            f"n_classes={n_classes} and n_doubles={n_doubles}: classes are 1 to {len(SHAPES)}, pairs up to {len(pairs)}."
        )

    def stream(*part: object) -> np.random.Generator:
        return np.random.default_rng(derived_seed(seed, "c3di_lite_temporal", *part))

    r = len(RESPONSIVE)
    wired = process.process(stream("process"), r, 1, lag=1, instantaneous=False, edge=0.3, invariant=INVARIANT_EFFECT)
    rest = process.neutral(r)
    settled = wired.sample(stream("reference"), REFERENCE, 1, rest)[0][:, 0]
    centre, spread = settled.mean(axis=0), settled.std(axis=0)
    singles = {name: _drive(stream("drive", name), i) for i, name in enumerate(RESPONSIVE)}
    doubles = [pairs[i] for i in stream("doubles").permutation(len(pairs))[:n_doubles]]
    acts = [(), *((name,) for name in RESPONSIVE), *doubles]

    blocks, columns = [], []
    for act in acts:
        label = Condition(act).label
        n = units_per_perturbation * (1 if mode == "paired" else n_times)
        units, times = _seen(n, n_times, mode)
        z, v = wired.sample(stream("units", label), n, n_times, reduce(add, (singles[name] for name in act), rest))
        kind = stream("classes", label).integers(n_classes, size=n)
        moving = np.tanh((z - centre) / spread / WIDTH)[units, times]
        blocks.append(np.column_stack([moving, np.tanh(v[units, 0] / WIDTH), kind[units]]))
        columns.append((np.full(len(units), label), times.astype(float), np.array([f"{label}:{u}" for u in units])))
    values = np.concatenate(blocks)
    label, time, unit = (np.concatenate(part) for part in zip(*columns, strict=True))
    d, names = values.shape[1], (*RESPONSIVE, *INVARIANT)
    lagged = np.eye(d, dtype=bool)
    lagged[:r, :r] |= wired.lagged[0] != 0
    lagged[:r, r] = wired.invariant[:, 0] != 0
    truth = GroundTruth(
        values=values,
        names=names,
        blocks=("responsive",) * r + ("invariant",) * len(INVARIANT),
        kinds=("continuous",) * (d - 1) + ("categorical",),
        perturbations=tuple(Condition(act).label for act in acts),
        targets=np.array([[name in act for name in names] for act in acts]),
        graph=np.zeros((d, d), dtype=bool),
        lagged=lagged[None],
    )
    drawn = scenes(dict(zip(names[:-1], values[:, :-1].T, strict=True)), values[:, -1], white=True)
    return Sampled(drawn, {"perturbation": label} | ({} if mode == "endpoint" else {"time": time, "unit": unit}), truth)


def _drive(rng: np.random.Generator, node: int) -> process.Drive:
    full = process.drive(rng, len(RESPONSIVE), node, 0)
    return replace(full, shift=STRENGTH * full.shift)


def _seen(n: int, n_times: int, mode: str) -> tuple[Array, Array]:
    """Unit and time of each picture."""
    units, times = np.arange(n), np.arange(n_times)
    if mode == "paired":
        return np.repeat(units, n_times), np.tile(times, n)
    return units, units % n_times if mode == "snapshot" else np.full(n, n_times - 1)
