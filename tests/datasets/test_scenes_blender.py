"""The way to Blender and back, with a script in Blender's place; and with Blender where PBENCH_BPY_PYTHON names it."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest

from pbench.bench.contracts.errors import PbenchError, UsageError
from pbench.datasets.scenes import blender
from pbench.datasets.scenes.c3di_lite import C3DI_LITE_STATIC
from pbench.datasets.scenes.renderer import CAMERA, render
from pbench.datasets.scenes.scene import VARIABLES, Scenes
from pbench.datasets.scenes.shapes import SHAPES, shape

NAMED = os.environ.get(blender.VARIABLE, "")

#: Checks what it is given, then paints each picture in the colour of its object.
PAINTS = """
import sys, os
from pathlib import Path
import numpy as np
script, folder = sys.argv[1:]
assert script.endswith("blender_script.py"), script
assert not [k for k in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if k in os.environ]
given = np.load(Path(folder) / "scenes.npz")
n, size = len(given["shape"]), int(given["numbers"][0])
assert given["vertices6"].shape[1] == 3 and given["faces6"].max() < len(given["vertices6"]) == len(given["tints6"])
out = np.zeros((n, size, size, 3), dtype=np.uint8)
out[:] = np.rint(255 * given["colours"][:, 0])[:, None, None]
np.save(Path(folder) / "pictures.npy", out)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Names a program that runs this code where Blender's interpreter is expected."""

    def name(code):
        path = tmp_path / "python"
        path.write_text(f"#!{sys.executable}\n{code}")
        path.chmod(0o755)
        monkeypatch.setenv(blender.VARIABLE, str(path))

    return name


def state_of(pid):
    """Letter of a process' state, empty where there is none."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return ""


def some(n=3):
    rng = np.random.default_rng(0)
    return Scenes(rng.uniform(-1, 1, (n, len(VARIABLES))), np.arange(n) % len(SHAPES))


def test_scenes_go_there_and_pictures_come_back(stand_in, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    stand_in(PAINTS)
    drawn = blender.render(some(), 8)
    np.testing.assert_array_equal(drawn[:, 4, 4], np.rint(255 * some().colours[:, 0]))


def test_a_data_set_is_drawn_by_it(stand_in):
    stand_in(PAINTS)
    screen = C3DI_LITE_STATIC.generate(renderer="blender", images_per_perturbation=2, n_controls=2, size=16).load()
    hue = screen.ground_truth.values[:, screen.ground_truth.names.index("object_hue")]
    pixels = screen.adata.X.reshape(-1, 256, 3)
    assert (pixels == pixels[:, :1]).all()
    # Red is 1 within a sixth of the circle on either side of 0.
    assert ((pixels[:, 0, 0] == 1) == (np.abs(hue) * 90 <= 60.1)).all()


def test_none_is_named(monkeypatch):
    monkeypatch.delenv(blender.VARIABLE, raising=False)
    with pytest.raises(UsageError, match=f"export {blender.VARIABLE}="):
        blender.render(some(), 8)
    monkeypatch.setenv(blender.VARIABLE, "/no/such/python")
    with pytest.raises(UsageError, match="/no/such/python"):
        blender.render(some(), 8)


def test_an_interpreter_without_blender_is_told_from_one_that_fails(monkeypatch, stand_in):
    if not NAMED:
        monkeypatch.setenv(blender.VARIABLE, sys.executable)
        with pytest.raises(UsageError, match="has no bpy"):
            blender.render(some(), 8)
    stand_in("import sys; sys.exit('out of paint')")
    with pytest.raises(PbenchError, match="exit code 1: out of paint"):
        blender.render(some(), 8)
    stand_in("pass")
    with pytest.raises(PbenchError, match="without writing pictures"):
        blender.render(some(), 8)
    stand_in(PAINTS.replace("size, size, 3)", "size, size + 1, 3)"))
    with pytest.raises(PbenchError, match=r"shape \(3, 8, 9, 3\)"):
        blender.render(some(), 8)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
def test_what_it_started_ends_with_it(stand_in, tmp_path):
    left = tmp_path / "left"
    stand_in(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(left)!r}, 'w').write(str(child.pid))\n" + PAINTS
    )
    blender.render(some(), 8)
    # Gone, or dead and waiting for somebody to take notice; the signal takes a moment.
    for _ in range(100):
        if state_of(int(left.read_text())) in ("", "Z"):
            return
        time.sleep(0.05)
    pytest.fail("a process that the script had started is still there")


@pytest.mark.skipif(not NAMED, reason=f"{blender.VARIABLE} names no interpreter")
def test_blender_draws_the_same_scene():
    drawn, ours = blender.render(some(7), 48, samples=64), render(some(7), 48)
    for a, b in zip(drawn.astype(float), ours.astype(float), strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95
        assert np.abs(a - b).mean() < 10
    assert CAMERA[4, 0] == 25 / 35
    assert len(shape("pot").faces)
