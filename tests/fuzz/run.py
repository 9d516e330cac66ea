"""Fuzzes every target, two at a time, and prints what came of it: ``python tests/fuzz/run.py --seconds 600 [--target h5ad]``.

Exits with 1 if there is a find: an error that is none of ours, a crash, a hang, or memory beyond the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]


def fuzz(name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Fuzz a target for so long; a process that ends before is started again, and is a find where all of the reader is Python."""
    import targets

    end = time.monotonic() + seconds
    total: dict[str, Any] = {"target": name, "executions": 0, "taken": 0, "finds": 0, "ends": 0, "slowest": 0.0, "peak_mb": 0.0}
    folder.mkdir(parents=True, exist_ok=True)
    attempt = 0
    while (left := end - time.monotonic()) > 1 or not attempt:
        attempt += 1
        stats = folder / "stats.json"
        stats.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / "atheris_fuzz.py"), name, str(max(1, int(left))), str(folder)]
        began = time.monotonic()
        with open(folder / f"log{attempt}.txt", "wb") as log:
            try:
                code = subprocess.run(command, stdout=log, stderr=log, timeout=left + 120, env=environment()).returncode
            except subprocess.TimeoutExpired:
                code = -9
        found = json.loads(stats.read_text()) if stats.exists() else {}
        for key in ("executions", "taken", "finds"):
            total[key] += found.get(key, 0)
        for key in ("slowest", "peak_mb"):
            total[key] = max(total[key], found.get(key, 0.0))
        if code:
            total["ends" if targets.TARGETS[name].native else "finds"] += 1
            last = folder / "last"
            if last.exists():
                (folder / "finds").mkdir(exist_ok=True)
                (folder / "finds" / f"ended{attempt}").write_bytes(last.read_bytes())
            if time.monotonic() - began < 5:
                break
    return total


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--target", action="append", help="repeatable; default: all")
    parser.add_argument("--folder", type=Path, help="keeps corpus and finds")
    given = parser.parse_args()
    import targets

    names = given.target or list(targets.TARGETS)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    each = given.seconds * given.jobs / len(names)
    print(f"{'target':<22}{'runs':>9}{'taken':>9}{'finds':>7}{'ends':>6}{'peak MB':>9}{'slowest s':>11}")
    finds = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for found in pool.map(lambda name: fuzz(name, each, folder / name), names):
            finds += found["finds"]
            print(
                f"{found['target']:<22}{found['executions']:>9}{found['taken']:>9}{found['finds']:>7}{found['ends']:>6}{found['peak_mb']:>9.0f}"
                f"{found['slowest']:>11.2f}",
                flush=True,
            )
    print(f"{finds} find(s); corpus and finds in {folder}")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
