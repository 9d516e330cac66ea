"""Temporal-Causal3DIdent: the published sequence of CITRIS, read from its ``.npz`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import DataError
from ...bench.contracts.latents import GroundTruth
from ...bench.contracts.screen import DatasetCard, Screen
from ..folder import data_folder, not_here
from ..latent.cells import annotated
from ..latent.generated import at_least, choice
from .published import leading, published, resized

Array = np.ndarray[Any, Any]

NAME = "temporal-causal3dident"
PARTS = ("train", "val", "test")
#: Columns of ``raw_latents``, then those of ``shape_latents``; columns of ``interventions`` are the same.
COLUMNS = (
    "x",
    "y",
    "z",
    "roll",
    "pitch",
    "yaw",
    "spot_angle",
    "object_hue",
    "spot_hue",
    "background_hue",
    "shape",
    "material",
)
CIRCULAR, CATEGORICAL = COLUMNS[3:10], ("shape", "material")
#: Columns that are intervened upon together in sequences with coarse variables, and what they are then called.
GROUPS = {"position": ("x", "y", "z"), "rotation": ("roll", "pitch", "yaw")}
#: What sets the goal of each variable at the next instant, beside its own value.
CAUSES = {
    "x": ("pitch",),
    "y": ("roll",),
    "z": ("roll",),
    "roll": ("background_hue",),
    "pitch": ("object_hue",),
    "spot_angle": ("x", "y"),
    "spot_hue": ("background_hue",),
    "object_hue": ("shape", "spot_hue", "background_hue"),
}
#: Size of the published pictures.
PUBLISHED = 64

CARD = DatasetCard(
    name=NAME,
    title="RENDERED sequence of Temporal-Causal3DIdent (CITRIS) as published: an object in a scene whose variables are intervened upon",
    source="https://zenodo.org/records/6637749",
    licence="CC-BY expected; check the record",
    scale="raw",
    control_label="control",
    modality="rendered",
    citation="Lippe et al., CITRIS: Causal identifiability from temporal intervened sequences, ICML 2022",
    simulated=True,
    default_split="units",
    known_defects=(
        "one long sequence: a unit is a piece of it. One frame between pieces is left out, and neighbouring pieces remain correlated",
        "the perturbation of a frame is what was intervened upon on the way to it; a unit meets several, and keeps what earlier ones did",
        "the sequence without effects in the same instant is meant; Zenodo 6570441, the other one, has another graph",
    ),
)


def read(*, n: int = 6000, chunk: int = 6, size: int = PUBLISHED, part: str = "train") -> Screen:
    r"""Read the beginning of the sequence.

    A variable moves halfway to its goal at each instant, plus noise; the goals follow from other variables an instant earlier. Each
    step is labelled by the variables that were intervened upon: their targets joined, or control where there are none. Where all
    columns of a position or rotation that are ever intervened upon are so together, they are one target, ``position`` or ``rotation``.

    The sequence is cut into pieces of `chunk` consecutive frames with one frame left out between two, and each piece is a unit:
    ``unit`` is its number and ``time`` the position of a frame in it. The first frame is left out, because nothing is known
    of the way to it. Latent variables are those that vary in the frames read; angles and hues are in radians and circular.

    Parameters
    ----------
    n
        Frames, at most; fewer where the sequence ends.
    chunk
        Frames in a piece.
    size
        Width and height to which pictures of 64 pixels are averaged.
    part
        ``train``, ``val`` or ``test``, of the publication; what is held out here is up to the split.

    Returns
    -------
    Screen
        Scale ``raw``, pixels in [0, 1], ``uns["image_shape"]``, ``time``, ``unit`` and a `GroundTruth`.

    Raises
    ------
    DataError
        If the file is missing, or is not what was published.
    UsageError
        If a dial is turned beyond what it allows.
    """
    from PIL import Image

    (path,) = _files(n=n, chunk=chunk, size=size, part=part)
    latents, acted = sequence(path, 1 + (n // chunk) * (chunk + 1))
    units = min(n // chunk, len(latents) // (chunk + 1))
    if units < 2:
        raise DataError(f"data set '{NAME}': {path} has {len(latents)} frames, too few for two pieces of {chunk}; lower chunk.")
    frames = 1 + (np.arange(units)[:, None] * (chunk + 1) + np.arange(chunk)).ravel()
    pictures = leading(path, "imgs", (None, None, None, None), int(frames[-1]) + 1)
    if pictures.dtype != np.uint8 or pictures.shape[3] not in (3, 4) or len(pictures) <= frames[-1]:
        raise DataError(
            f"'imgs' in {path} is {pictures.dtype} {pictures.shape}; bytes (frames, height, width, 3 or 4) were expected."
        )
    X = np.empty((len(frames), size * size * 3), dtype=np.float32)
    for row, frame in zip(X, frames.tolist(), strict=True):
        row[:] = resized(Image.fromarray(np.ascontiguousarray(pictures[frame, :, :, :3])), size).reshape(-1)
    X /= np.float32(255)

    told = targets_of(acted)
    # Row t of the interventions leads from frame t to frame t + 1.
    labels = np.array([Condition(tuple(name for name, on in told.items() if on[t].any())).label for t in frames - 1])
    columns = {
        "perturbation": labels,
        "time": np.tile(np.arange(chunk, dtype=np.float64), units),
        "unit": np.repeat([f"piece{i:05d}" for i in range(units)], chunk),
    }
    adata = annotated(X, columns)
    adata.uns["image_shape"] = np.array([size, size, 3])
    truth(latents[frames], acted[frames - 1], labels).write(adata)
    return Screen(adata, CARD)


def sequence(path: Path, n: int) -> tuple[Array, Array]:
    """(n, 12) `COLUMNS` of the first n frames, and (n − 1, 12) bool: which were intervened upon on the way to the next.

    Raises
    ------
    DataError
        If an array is missing or is not what was published.
    """
    raw = leading(path, "raw_latents", (None, 10), n)
    shape = leading(path, "shape_latents", (None, 2), n)
    acted = leading(path, "interventions", (None, 12), n - 1)
    if len(shape) != len(raw):
        raise DataError(
            f"{path}: 'shape_latents' has {len(shape)} rows and 'raw_latents' {len(raw)}; both have one for each frame."
        )
    latents = np.concatenate([np.asarray(raw, dtype=np.float64), np.asarray(shape, dtype=np.float64)], axis=1)
    if len(acted) != len(raw) - 1:
        raise DataError(
            f"{path}: 'interventions' has {len(acted)} rows for {len(raw)} frames; it has one less than there are frames."
        )
    if not np.isfinite(latents).all() or not np.isin(acted, (0, 1)).all():
        raise DataError(f"{path}: latents must be finite, and interventions 0 or 1.")
    if not np.array_equal(latents[:, 10:], np.rint(latents[:, 10:])):
        raise DataError(f"{path}: 'shape_latents' must hold whole numbers, of the shape and of the material.")
    return latents, np.asarray(acted) == 1


def targets_of(acted: Array) -> dict[str, Array]:
    """For each target (n, k) bool: where its columns are intervened upon. Columns that never are have none."""
    used = [name for i, name in enumerate(COLUMNS) if acted[:, i].any()]
    found: dict[str, list[str]] = {}
    for name in used:
        group = next((g for g, members in GROUPS.items() if name in members), None)
        members = [m for m in GROUPS[group] if m in used] if group else []
        together = len(members) > 1 and all(np.array_equal(_column(acted, m), _column(acted, members[0])) for m in members)
        found.setdefault(group if group and together else name, []).append(name)
    return {target: np.stack([_column(acted, m) for m in members], axis=1) for target, members in found.items()}


def _column(acted: Array, name: str) -> Array:
    return acted[:, COLUMNS.index(name)]


def truth(latents: Array, acted: Array, labels: Array) -> GroundTruth:
    """Those of `COLUMNS` that vary in (n, 12), with what each label intervened upon and the causes of each variable."""
    spread: Array = np.ptp(latents, axis=0)
    own = np.flatnonzero(spread > 0)
    names = tuple(COLUMNS[i] for i in own.tolist())
    perturbations = ("control", *sorted(set(labels.tolist()) - {"control"}))
    targets = np.array([acted[labels == p][:1].any(axis=0) for p in perturbations])[:, own]
    step = np.array([[cause == name or cause in CAUSES.get(name, ()) for cause in names] for name in names])
    kinds = ["circular" if n in CIRCULAR else "categorical" if n in CATEGORICAL else "continuous" for n in names]
    parts = {"names": names, "kinds": tuple(kinds), "perturbations": perturbations, "targets": targets}
    graph = np.zeros((len(own), len(own)), dtype=bool)
    found = GroundTruth(latents[:, own], blocks=("responsive",) * len(own), graph=graph, lagged=step[None], **parts)
    reached = np.logical_or.reduce(found.reached)
    blocks = tuple("responsive" if r else "invariant" for r in reached.tolist())
    return GroundTruth(latents[:, own], blocks=blocks, graph=graph, lagged=step[None], **parts)


def _files(*, n: int, chunk: int, size: int, part: str) -> list[Path]:
    choice(part=(part, PARTS))
    at_least(chunk=(chunk, 2), n=(n, 2 * chunk), size=(size, 8), largest_size=(PUBLISHED - size, 0))
    path = data_folder() / NAME / f"{part}.npz"
    if not path.is_file():
        raise _not_here([part])
    return [path]


def fetch() -> Path:
    """The folder, once the files of all parts lie in it; they are not downloaded.

    Raises
    ------
    DataError
        If one is missing, with where it is published.
    """
    folder = data_folder() / NAME
    if missing := [part for part in PARTS if not (folder / f"{part}.npz").is_file()]:
        raise _not_here(missing)
    return folder


def _not_here(parts: list[str]) -> DataError:
    names = [f"{NAME}/{part}.npz" for part in parts]
    return not_here(NAME, names, tried=f"pbench does not download it; unpack the archive of {CARD.source} there.")


TEMPORAL_CAUSAL3DIDENT = published(read, CARD, _files, fetch=fetch, file=f"{NAME}/train.npz")
