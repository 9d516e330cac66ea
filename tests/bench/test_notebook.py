"""The notebook runs from the first cell to the last and shows what its text says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import pbench

nbformat = pytest.importorskip("nbformat", reason="install pbench[notebook] to run the notebooks")
nbclient = pytest.importorskip("nbclient", reason="install pbench[notebook] to run the notebooks")
pytest.importorskip("ipykernel", reason="install pbench[notebook] to run the notebooks")
pytest.importorskip("matplotlib", reason="install pbench[notebook] to run the notebooks")

NOTEBOOKS = sorted((Path(pbench.__file__).parent / "docs" / "notebooks").glob("*.ipynb"))


def test_notebooks_are_kept_without_outputs():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    kept = dict(os.environ)
    # The kernel of this Python, and its command line, whatever is first on the path of whoever runs the tests.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    os.environ |= {"PBENCH_CACHE": str(folder / "cache"), "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(folder / "ipython")}
    os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
    try:
        nbclient.NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    finally:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
        os.environ.update(kept)
    return folder, notebook


def shown(notebook, kind):
    found = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    return ["".join(data[kind]) for data in found if kind in data]


def test_the_first_steps_end_in_a_table_a_board_and_a_plot(done):
    folder, notebook = done
    assert any("half-additive" in text for text in shown(notebook, "text/html"))
    board = "\n".join(shown(notebook, "text/markdown"))
    assert "half-additive" in board and "additive, from Python" in board and "| " in board
    assert len(shown(notebook, "image/png")) == 1
    assert any("capability: unseen target" in text for text in shown(notebook, "text/plain"))
    assert (folder / "results" / "records").is_dir()
    warned = [o for c in notebook.cells for o in c.get("outputs", ()) if o.get("name") == "stderr"]
    assert warned == []
