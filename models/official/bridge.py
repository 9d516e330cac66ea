"""What the foreign interpreter runs: reads a task from a folder, calls the script of one package, writes what it answers.

Run as ``python bridge.py SCRIPT FOLDER STEP``, with a pipe as standard input that stays open as long as the caller lives. It uses
numpy and the standard library, so that it runs wherever the packages do, and nothing of pbench.

A script has two functions. ``fit(task)`` trains and saves under ``task["folder"]``. ``predict(task)`` answers ``task["queries"]``
with a dictionary: ``mean`` by number of the query, ``genes``, ``scale``, and where there are some ``variance``, ``cells`` and
``absent`` (a reason) by number.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import random
import signal
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

#: Exit status that says that a package is missing.
CANNOT_IMPORT = 90


def _die_with_caller() -> None:
    # The pipe ends when the caller does, however it ends; what the packages have started lies in this process group.
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def seed_all(seed: int, *, torches: bool) -> None:
    """Seed every generator that the packages draw from, and keep torch to the threads that the environment names."""
    random.seed(seed)
    import numpy as np

    np.random.seed(seed)
    if torches:
        import torch

        torch.manual_seed(seed)
        if threads := os.environ.get("OMP_NUM_THREADS"):
            torch.set_num_threads(int(threads))


def versions(packages: list[str]) -> dict[str, str]:
    """Installed versions of distributions, and of Python."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def batch_size(asked: int, *n_cells: int) -> int:
    """The largest size up to `asked` that leaves no single cell over of any of `n_cells`: batch normalisation cannot take one."""
    return next((size for size in range(max(asked, 2), 2, -1) if all(n % size != 1 for n in n_cells)), 2)


def write(folder: Path, answer: dict[str, Any]) -> None:
    """Write an answer: means and variances in one file, the cells of each query in a file of its own, reasons as JSON."""
    import numpy as np

    numbers = sorted(answer["mean"])
    arrays = {
        "numbers": np.array(numbers, dtype=np.int64),
        "genes": np.array([str(g) for g in answer["genes"]]),
        "mean": np.array([np.asarray(answer["mean"][i]).ravel() for i in numbers], dtype=np.float32),
    }
    if answer.get("variance"):
        arrays["variance"] = np.array([np.asarray(answer["variance"][i]).ravel() for i in numbers], dtype=np.float32)
    for i, cells in (answer.get("cells") or {}).items():
        np.save(folder / f"cells-{i}.npy", np.asarray(cells, dtype=np.float32))
    np.savez(folder / "answer.npz", **arrays)  # type: ignore[arg-type]
    said = {"scale": answer["scale"], "absent": {str(i): reason for i, reason in (answer.get("absent") or {}).items()}}
    (folder / "answer.json").write_text(json.dumps(said))


def main(script: str, folder: str, step: str) -> None:
    # A script's own folder holds modules of pbench; they are none of the packages' business.
    sys.path.pop(0)
    threading.Thread(target=_die_with_caller, daemon=True).start()
    place = Path(folder)
    task = json.loads((place / "task.json").read_text())
    task["folder"] = folder
    # Under its own name too, for scripts that call something of it.
    sys.modules["bridge"] = sys.modules[__name__]
    spec = importlib.util.spec_from_file_location("official_script", script)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{script} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        seed_all(task["seed"], torches="torch" in task["packages"])
        if step == "fit":
            module.fit(task)
        else:
            write(Path(task["answers"]), module.predict(task))
    except ImportError as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(CANNOT_IMPORT) from None
    (place / "versions.json").write_text(json.dumps(versions(task["packages"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
