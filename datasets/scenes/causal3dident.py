"""Causal3DIdent: the published pictures, read from their folder."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.errors import DataError, UsageError
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import GroundTruth
from ...bench.contracts.screen import DatasetCard, Screen
from ..download import with_pooch
from ..folder import data_folder, not_here
from ..latent.cells import annotated
from ..latent.generated import at_least, choice
from .published import array, parts_by_name, published, resized

Array = np.ndarray[Any, Any]

NAME = "causal3dident"
#: The classes in the order of the numbers in the names of files.
CLASSES = ("teapot", "hare", "dragon", "cow", "armadillo", "horse", "head")
#: Columns of the latents.
VARIABLES = ("x", "y", "z", "roll", "pitch", "yaw", "spot_angle", "object_hue", "spot_hue", "background_hue")
#: Direct causes of each variable beside the class.
CAUSES = {**dict.fromkeys(("x", "y", "z"), ("spot_angle",)), "object_hue": ("spot_hue", "background_hue")}
#: Variables whose distribution given their causes depends on the class.
OF_CLASS = ("x", "y", "z", "roll", "pitch", "yaw", "object_hue")
PARTS = ("train", "test")
#: Archives of the record and their md5.
RECORD = "https://zenodo.org/records/4784282/files/"
ARCHIVES = {
    "trainset.tar.gz": "acd98fda30eee75856dbbc7c54a27e45",
    "testset.tar.gz": "c5d9d32d3737e241a2b12b968275fcb8",
}

CARD = DatasetCard(
    name=NAME,
    title="RENDERED pictures of Causal3DIdent as published: 7 objects in scenes of 10 causally related variables; classes as perturbations",
    source="https://zenodo.org/records/4784282",
    licence="CC-BY expected; check the record",
    scale="raw",
    control_label="teapot",
    modality="rendered",
    citation="von Kügelgen et al., Self-supervised learning with data augmentations provably isolates content from style, NeurIPS 2021",
    simulated=True,
    default_split="units",
    known_defects=(
        "observational: nothing was intervened upon. The class of the object stands for the perturbation and the first class that is "
        "read for the control, because the class changes the distributions of position, rotation and object hue",
        "a part of the files is read: n pictures, classes equally, at random and always the same",
        "the conditional distributions are published as samples only; the graph is the one that the paper describes",
    ),
)


def read(*, n: int = 7000, classes: str = "all", size: int = 64, part: str = "train") -> Screen:
    """Read some of the pictures and their latent variables.

    The class is the environment: its first one is called control, each other one bears its name as a perturbation. Latent variables
    are the ten columns of ``raw_latents``, each between -1 and 1 and none of them circular, because hues and angles cover half a
    turn. A class is said to act on the mechanisms of position, rotation and object hue; spotlight angle, spotlight hue and
    background hue are left alone by all of them.

    Parameters
    ----------
    n
        Pictures, as many of each class as there are of any other.
    classes
        ``all``, or two or more of them joined by ``+``, such as ``teapot+hare``.
    size
        Width and height to which pictures of 224 pixels are averaged.
    part
        ``train`` or ``test``, of the publication; what is held out here is up to the split.

    Returns
    -------
    Screen
        Scale ``raw``, pixels in [0, 1], ``uns["image_shape"]`` and a `GroundTruth`.

    Raises
    ------
    DataError
        If files are missing, or are not what was published.
    UsageError
        If a dial is turned beyond what it allows.
    """
    from PIL import Image

    found = chosen(n=n, classes=classes, size=size, part=part)
    X = np.empty((sum(len(f) for _, _, f in found), size * size * 3), dtype=np.float32)
    at = 0
    for _, _, files in found:
        for file in files:
            try:
                with Image.open(file) as picture:
                    X[at] = resized(picture, size).reshape(-1)
            except OSError as error:
                raise DataError(f"{file} is no picture that can be read: {' '.join(str(error).split())[:200]}.") from error
            at += 1
    X /= np.float32(255)
    numbers = [c for c, _, _ in found]
    labels = ("control", *(CLASSES[c] for c in numbers[1:]))
    adata = annotated(X, {"perturbation": np.repeat(labels, [len(f) for _, _, f in found])})
    adata.uns["image_shape"] = np.array([size, size, 3])
    truth(np.concatenate([values for _, values, _ in found]), labels).write(adata)
    return Screen(adata, CARD)


def truth(values: Array, labels: tuple[str, ...]) -> GroundTruth:
    """Variables (n, 10), and what each class but the first changes."""
    d = len(VARIABLES)
    acted = np.array([name in OF_CLASS for name in VARIABLES])
    return GroundTruth(
        values=np.asarray(values, dtype=np.float64),
        names=VARIABLES,
        blocks=tuple("responsive" if a else "invariant" for a in acted),
        kinds=("continuous",) * d,
        perturbations=labels,
        targets=np.array([acted & (label != "control") for label in labels]),
        graph=np.array([[cause in CAUSES.get(name, ()) for cause in VARIABLES] for name in VARIABLES]),
        lagged=np.zeros((0, d, d), dtype=bool),
    )


def chosen(*, n: int, classes: str, size: int, part: str) -> list[tuple[int, Array, list[Path]]]:
    """For each class its number, the latents of the chosen pictures and their files, all of which are there.

    Raises
    ------
    DataError
        Naming the first thing that is missing.
    UsageError
        If a dial is turned beyond what it allows.
    """
    choice(part=(part, PARTS))
    at_least(size=(size, 8), largest_size=(224 - size, 0))
    numbers = parts_by_name(CLASSES, classes, "classes")
    if len(numbers) < 2 or n < len(numbers):
        raise UsageError(f"n={n} and classes={classes}: give two classes or more, and a picture of each at least.")
    folder = data_folder() / NAME / f"{part}set"
    if not folder.is_dir():
        raise not_here(NAME, [f"{NAME}/{part}set/"])
    found = []
    for c in numbers:
        latents = folder / f"raw_latents_{c}.npy"
        if not latents.is_file():
            raise DataError(f"data set '{NAME}': {latents} is missing; the archive has one for each class, beside images_{c}/.")
        every = array(latents, (None, len(VARIABLES)))
        if len(every) < 2 or not np.isfinite(every).all() or np.abs(every).max() > 1 + 1e-6:
            raise DataError(
                f"data set '{NAME}': {latents} is not what was published: two rows or more of values between -1 and 1."
            )
        rng = np.random.default_rng(derived_seed(NAME, part, c))
        rows = np.sort(rng.permutation(len(every))[: n // len(numbers)])
        digits = math.ceil(math.log10(len(every)))
        files = [folder / f"images_{c}" / f"{row:0{digits}d}.png" for row in rows.tolist()]
        if missing := [f for f in files if not f.is_file()]:
            raise DataError(f"data set '{NAME}': {missing[0]} is missing, for which {latents.name} has a row.")
        found.append((c, np.asarray(every[rows]), files))
    return found


def _files(**dials: Any) -> list[Path]:
    found = chosen(**dials)
    folder = data_folder() / NAME / f"{dials['part']}set"
    return [f for c, _, files in found for f in (folder / f"raw_latents_{c}.npy", *files)]


def fetch(record: str = RECORD, archives: dict[str, str] = ARCHIVES) -> Path:
    """Download what is missing, check it, and unpack it; archives that lie in the folder already are used.

    Raises
    ------
    DataError
        If the host cannot be reached, an archive has another checksum, or it lacks what it should hold.
    """
    folder = data_folder() / NAME
    for name, md5 in archives.items():
        if (folder / name.removesuffix(".tar.gz") / "raw_latents_0.npy").is_file():
            continue
        if not (folder / name).is_file():
            with_pooch(NAME, record + name, [f"{NAME}/{name}"], sha256=None)
        unpack(folder / name, md5)
    return folder


def unpack(archive: Path, md5: str) -> Path:
    """Unpack an archive beside itself once its md5 is the published one; nothing is there before all of it is.

    Raises
    ------
    DataError
        If the checksum is another, or it cannot be unpacked, or holds no latents.
    """
    with open(archive, "rb") as f:
        digest = hashlib.file_digest(f, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if digest != md5:
        raise DataError(
            f"data set '{NAME}': {archive} has md5 {digest}, published is {md5}; it is damaged or another version. "
            f"Delete it (and {archive.name}.sha256.json) and type: pbench fetch {NAME}"
        )
    target = archive.parent / archive.name.removesuffix(".tar.gz")
    place = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=archive.parent))
    try:
        with tarfile.open(archive) as packed:
            # No links out of the folder, no devices, no absolute names.
            packed.extractall(place, filter="data")
        inside = next((f.parent for f in sorted(place.rglob("raw_latents_0.npy"))), None)
        if inside is None:
            raise DataError(f"data set '{NAME}': {archive} holds no raw_latents_0.npy.")
        os.replace(inside, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"data set '{NAME}': {archive} cannot be unpacked: {' '.join(str(error).split())[:200]}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return target


CAUSAL3DIDENT = published(read, CARD, _files, fetch=fetch, file=f"{NAME}/trainset")
