"""Objects under interventions on the causal model of their scene: a lite stand-in of Causal3DIdent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import GroundTruth
from ...bench.contracts.screen import DatasetCard, Screen
from ..latent.generated import at_least, choice
from .imaging import RENDERERS, Sampled, imaged
from .scene import VARIABLES, Scenes
from .shapes import SHAPES

Array = np.ndarray[Any, Any]

#: Direct causes of each variable of the scene; the class is a cause of all that are not roots.
CAUSES: dict[str, tuple[str, ...]] = {
    "spot_angle": (),
    "spot_hue": (),
    "background_hue": (),
    **dict.fromkeys(("x", "y", "z"), ("class", "spot_angle")),
    **dict.fromkeys(("roll", "pitch", "yaw"), ("class",)),
    "object_hue": ("class", "spot_hue", "background_hue"),
}
#: No perturbation reaches these.
INVARIANT = ("class", "background_hue")
#: Rotations in the order in which they join in; one that does not stays in the middle.
ROTATIONS = ("yaw", "pitch", "roll")
#: Standard deviations of the normal distribution of a root, of a variable with causes, and of one under an intervention.
ROOT_SD, SD, INTERVENTION_SD = 0.6, 0.35, 0.25

CARD = DatasetCard(
    name="c3di-lite-static",
    title="SIMULATED pictures, a LITE stand-in of Causal3DIdent: 7 solids under interventions on 7 variables of their scene",
    source="rendered by pbench.datasets.scenes.lite_static.simulate",
    licence="CC0 (generated)",
    scale="raw",
    control_label="control",
    modality="simulated",
    citation="scene and causal graph after von Kügelgen et al., NeurIPS 2021 (Causal3DIdent); no picture of theirs is used",
    n_cells=4000,
    n_genes=3072,
    n_perturbations=7,
    simulated=True,
    default_split="units",
    known_defects=(
        "lite: own solids, own conditional distributions, own renderer; never to be compared with numbers on the published Causal3DIdent",
        "lite: an object high up and near may leave the picture in part, as in the published scene",
    ),
)


@dataclass(frozen=True)
class SceneModel:
    """The causal model: truncated normal distributions on [-1, 1] around means that the causes set.

    Parameters
    ----------
    means
        (classes, 10) mean of each of `VARIABLES` by class; 0 for roots.
    weights
        (10, 10) effect of the column on the mean of the row.
    forced
        (10,) mean of each under an intervention on it.
    """

    means: Array
    weights: Array
    forced: Array

    def mechanism(self, i: int, kind: Array, raw: Array) -> tuple[Array, float]:
        """(n,) mean and standard deviation of variable i, given classes and causes."""
        # Means stay within (-.6, .6), so that no distribution is all edge.
        mean = 0.6 * np.tanh((self.means[kind, i] + np.einsum("nj,j->n", raw, self.weights[i])) / 0.6)
        return mean, SD if CAUSES[VARIABLES[i]] else ROOT_SD

    def sample(self, rng: np.random.Generator, kind: Array, target: str = "") -> Array:
        """(n, 10) variables of scenes with the given classes, under an intervention on the target if one is named."""
        uniform = rng.random((len(kind), len(VARIABLES)))
        raw = np.zeros(uniform.shape)
        # CAUSES names causes before effects.
        for name in CAUSES:
            i = VARIABLES.index(name)
            hit = np.full(len(kind), self.forced[i]), INTERVENTION_SD
            raw[:, i] = truncated_normal(uniform[:, i], *(hit if name == target else self.mechanism(i, kind, raw)))
        return raw


def simulate(
    *,
    seed: int = 0,
    size: int = 32,
    n_classes: int = 7,
    n_rotations: int = 1,
    images_per_perturbation: int = 500,
    n_controls: int = 500,
    renderer: str = "raster",
) -> Screen:
    r"""Draw solids whose place, rotation and colours follow a causal model, and what interventions on it do.

    The graph is that of Causal3DIdent: the class and the spotlight's angle are causes of the object's place, the class is one of its
    rotations, and class, spotlight hue and background hue are causes of its hue. The class is uniform; each other variable
    is a normal distribution truncated to [-1, 1], with standard deviation .6 for roots and .35 for the rest, around

    .. math:: .6 \tanh\big((\mu_{c} + \textstyle\sum_j w_j v_j) / .6\big), \quad \mu_c \sim U(-.5, .5), \quad |w_j| \sim U(.3, .6).

    A perturbation bears the name of the variable on which it acts: one that is no longer caused, with mean :math:`\pm U(.5, .8)` and
    standard deviation .25. The class and the background hue are left alone by all of them. 1 is two units for places and a quarter
    turn for rotations, the spotlight's angle and hues, so that no variable is circular. Published are neither the conditional
    distributions nor interventions of Causal3DIdent: these are our own.

    Parameters
    ----------
    seed
        Fixes every byte. The model and the scenes of each perturbation have streams of their own.
    size
        Width and height of the pictures in pixels, 16 to 256.
    n_classes
        Solids, the first ones of `SHAPES`, 1 to 7.
    n_rotations
        How many of yaw (about the vertical), pitch and roll vary, 1 to 3. Rotations are by far the hardest to see: of three,
        a supervised network that reads places and hues well still misses most in 32 pixels.
    images_per_perturbation, n_controls
        Pictures of each perturbation, and of none.
    renderer
        ``raster``, or ``blender`` where an interpreter with bpy is named by ``PBENCH_BPY_PYTHON``.

    Returns
    -------
    Screen
        Scale ``raw``, pixels in [0, 1], ``uns["image_shape"]`` and a `GroundTruth` of the variables that vary, 9 by default, the class among them.

    Raises
    ------
    UsageError
        If a dial is turned beyond what it allows, or no interpreter is named for Blender.

    References
    ----------
    von Kügelgen et al., "Self-supervised learning with data augmentations provably isolates content from style", NeurIPS 2021.
    """
    choice(renderer=(renderer, RENDERERS))
    at_least(size=(size, 16), largest_size=(256 - size, 0))
    sampled = sample(
        seed=seed,
        n_classes=n_classes,
        n_rotations=n_rotations,
        images_per_perturbation=images_per_perturbation,
        n_controls=n_controls,
    )
    return imaged(sampled, CARD, size=size, drawn_by=renderer)


def sample(*, seed: int, n_classes: int, n_rotations: int, images_per_perturbation: int, n_controls: int) -> Sampled:
    """The scenes of `simulate` before they are drawn."""
    at_least(images_per_perturbation=(images_per_perturbation, 1), n_controls=(n_controls, 1))
    if not (1 <= n_classes <= len(SHAPES) and 1 <= n_rotations <= len(ROTATIONS)):
        raise UsageError(
            f"n_classes={n_classes} and n_rotations={n_rotations}: classes are 1 to {len(SHAPES)}, rotations 1 to {len(ROTATIONS)}."
        )

    def stream(*part: object) -> np.random.Generator:
        return np.random.default_rng(derived_seed(seed, "c3di_lite_static", *part))

    model = scene_model(stream("model"))
    still = [VARIABLES.index(name) for name in ROTATIONS[n_rotations:]]
    names = tuple(name for i, name in enumerate(VARIABLES) if i not in still)
    acted = ("", *(name for name in names if name not in INVARIANT))
    labels, raw, kinds = [], [], []
    for name in acted:
        label = Condition((name,) if name else ()).label
        cells = stream("scenes", label)
        kinds.append(cells.integers(n_classes, size=images_per_perturbation if name else n_controls))
        raw.append(model.sample(cells, kinds[-1], name))
        labels.append(np.full(len(kinds[-1]), label))
    values, kind = np.concatenate(raw), np.concatenate(kinds)
    values[:, still] = 0
    everything = (*names, "class")
    truth = GroundTruth(
        values=np.column_stack([values[:, [VARIABLES.index(name) for name in names]], kind]),
        names=everything,
        blocks=tuple("invariant" if name in INVARIANT else "responsive" for name in everything),
        kinds=("continuous",) * len(names) + ("categorical",),
        perturbations=tuple(str(part[0]) for part in labels),
        targets=np.array([[name == own for name in everything] for own in acted]),
        graph=np.array([[cause in CAUSES.get(name, ()) for cause in everything] for name in everything]),
        lagged=np.zeros((0, len(everything), len(everything)), dtype=bool),
    )
    return Sampled(Scenes(values, kind), {"perturbation": np.concatenate(labels)}, truth)


def scene_model(rng: np.random.Generator) -> SceneModel:
    """Draw the means of all classes, the weights, and the means under interventions."""
    d = len(VARIABLES)
    caused = np.array([[cause in CAUSES[name] for cause in VARIABLES] for name in VARIABLES])
    classed = np.array(["class" in CAUSES[name] for name in VARIABLES])
    means = rng.uniform(-0.5, 0.5, (len(SHAPES), d)) * classed
    weights = rng.uniform(0.3, 0.6, (d, d)) * rng.choice([-1, 1], (d, d)) * caused
    return SceneModel(means, weights, rng.uniform(0.5, 0.8, d) * rng.choice([-1, 1], d))


def truncated_normal(uniform: Array, mean: Array, sd: float) -> Array:
    """(n,) quantiles, at (n,) `uniform` numbers, of N(mean, sd^2) truncated to [-1, 1]."""
    from scipy.special import ndtr, ndtri

    low, high = ndtr((-1 - mean) / sd), ndtr((1 - mean) / sd)
    return np.clip(mean + sd * ndtri(low + uniform * (high - low)), -1, 1)
