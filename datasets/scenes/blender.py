"""The same scenes drawn by Blender, in an interpreter of its own that has its Python module (bpy, GPL-3.0).

Nothing of Blender is imported or installed here. Name an interpreter with ``PBENCH_BPY_PYTHON``; one is made with
``python3.11 -m venv bpy && bpy/bin/pip install bpy==4.2.23``. The folder through which the two talk holds ``scenes.npz`` (what
`Scenes` computes, and the solids) and then ``pictures.npy``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.errors import PbenchError, UsageError
from .mesh import Mesh
from .renderer import CAMERA, CONE, LAMP_HEIGHT, LAMP_WATTS, SOFT, SUN, WATTS
from .scene import GROUND, Scenes
from .shapes import SHAPES, shape

Array = np.ndarray[Any, Any]

VARIABLE = "PBENCH_BPY_PYTHON"
SCRIPT = Path(__file__).with_name("blender_script.py")
#: Paths of light that Cycles follows for each pixel.
SAMPLES = 32
#: Exit status of the script that says that bpy is missing.
CANNOT_IMPORT = 90


def render(scenes: Scenes, size: int, *, meshes: Sequence[Mesh] | None = None, samples: int = SAMPLES) -> Array:
    """(n, size, size, 3) uint8 pictures, as `renderer.render` makes them but with Blender's light: soft shadows, no highlight.

    Parameters
    ----------
    size
        Width and height in pixels.
    meshes
        Solids that ``scenes.shape`` counts through; `SHAPES` by default.
    samples
        Paths of light for each pixel.

    Raises
    ------
    UsageError
        If no interpreter is named, there is none where the name points, or it lacks bpy.
    PbenchError
        If the script fails or answers with something else than pictures of that size.
    """
    python = _interpreter()
    solids = [shape(name) for name in SHAPES] if meshes is None else meshes
    arrays = {
        "places": scenes.places,
        "rotations": scenes.rotations,
        "lamps": scenes.lamps,
        "colours": scenes.colours,
        "shape": scenes.shape,
        "camera": CAMERA,
        "numbers": np.array([size, samples, GROUND, WATTS, CONE, SOFT, SUN, LAMP_WATTS, LAMP_HEIGHT], dtype=float),
    }
    for i, solid in enumerate(solids):
        arrays |= {f"vertices{i}": solid.vertices, f"tints{i}": solid.tints, f"faces{i}": solid.faces}
    with tempfile.TemporaryDirectory(prefix="pbench-blender-") as name:
        folder = Path(name)
        np.savez(folder / "scenes.npz", **arrays)  # pyright: ignore[reportArgumentType]
        _run(python, folder)
        answer = folder / "pictures.npy"
        if not answer.exists():
            raise PbenchError(f"Blender, run by {python}, ended without writing pictures.")
        pictures = np.load(answer, allow_pickle=False)
    if pictures.shape != (len(scenes), size, size, 3) or pictures.dtype != np.uint8:
        raise PbenchError(f"Blender, run by {python}, answered with {pictures.dtype} of shape {pictures.shape}.")
    return pictures


def _interpreter() -> str:
    named = os.environ.get(VARIABLE, "")
    if not named:
        raise UsageError(
            f"renderer=blender runs Blender in an interpreter of its own, and none is named. Type: export {VARIABLE}=/path/to/bin/python "
            "(python3.11 -m venv bpy && bpy/bin/pip install bpy==4.2.23 makes one)."
        )
    found = shutil.which(os.path.expanduser(named))
    if found is None:
        raise UsageError(f"'{named}' is no program. Set {VARIABLE} to the python of an environment with bpy.")
    return found


def _run(python: str, folder: Path) -> None:
    """Run the script and wait; its process group ends with this call, and by itself should this process be killed."""
    # What belongs to our own environment would make the other one find our packages.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    log = folder / "stderr.txt"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [python, str(SCRIPT), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        try:
            # Not reaped yet, so that the number of its group cannot pass to another before the group is killed.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            if process.stdin:
                process.stdin.close()
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if code == CANNOT_IMPORT:
        raise UsageError(f"{python} has no bpy: {(lines or [''])[-1]} (pip install bpy==4.2.23 with Python 3.11).")
    if code:
        raise PbenchError(f"Blender, run by {python}, ended with exit code {code}: {' | '.join(lines[-4:])[-800:]}")
