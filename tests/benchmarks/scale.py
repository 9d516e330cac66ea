"""Preparation, training and scoring of screens several times larger than memory: ``python tests/benchmarks/scale.py FOLDER``.

For each number of cells a screen is generated and four models are run with the headline metrics from an empty cache, all processes
together within one bound on memory (a control group, see ``within_memory.py``: root on Linux). Prints a table with the seconds of each
step, the memory at its peak, and the exponent b of time = a * cells**b that fits best; writes all of it to ``FOLDER/scale.json``.
The data of a size are deleted before those of the next are made; 2 million cells take about 35 GB of disk meanwhile.

``--reuse SCREEN`` measures on a screen that is there already.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

SUPPORT = Path(__file__).resolve().parents[1] / "support"
sys.path.insert(0, str(SUPPORT))
from within_memory import NoGroups, bytes_of, run_within  # noqa: E402

#: One pass over the cells of a fixed network, so that its time should grow with the cells and with nothing else.
NETWORK = "latent-additive[batch_size=512,epochs=1,latent=32,width=64]"
MODELS = ("train-mean", "additive", "bilinear-ridge", NETWORK)
STEPS = ("fit", "predict", "score", "total")


def generate(path, n_cells, asked):
    """Write the screen of a size, outside of the bound."""
    options = ["--cells", n_cells, "--genes", asked.genes, "--perturbations", asked.perturbations, "--doubles", asked.doubles]
    subprocess.run([sys.executable, SUPPORT / "large_screen.py", path, *map(str, options)], check=True)


def measure(screen, folder, asked):
    """Run all models on a screen; returns seconds by step and bytes."""
    out = folder / "results"
    command = [sys.executable, "-m", "pbench.bench.cli.main"] if asked.module else ["pbench"]
    command += ["run", "--dataset", str(screen), "--scale", "counts", "--split", "doubles", "--models", ",".join(MODELS)]
    command += ["--metrics", "headline", "--no-controls", "--memory", asked.memory, "--jobs", "1", "--out", str(out)]
    with (folder / "log.txt").open("w") as log:
        usage = run_within(
            bytes_of(asked.memory),
            command,
            env=os.environ | {"PBENCH_CACHE": str(folder / "cache")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    cards = [json.loads(p.read_text()) for p in sorted((out / "records").glob("*.json"))]
    by_model = {c["model"]: c for c in cards}
    if usage.code or sorted(by_model) != sorted(MODELS) or any(c["status"] != "ok" for c in cards):
        reasons = [f"{c['model']}: {c['status']} {c.get('reason', '')}" for c in cards]
        sys.exit("\n".join([f"the run failed ({usage})", *reasons, (folder / "log.txt").read_text()[-3000:]]))
    if silent := [c["model"] for c in cards if c["n_predicted"] < c["n_conditions"]]:
        sys.exit(f"{silent[0]} did not predict all conditions; this is no measurement of it")
    seconds = {f"{name.partition('[')[0]}: {step}": by_model[name]["seconds"][step] for name in MODELS for step in STEPS}
    jobs = sum(by_model[name]["seconds"]["total"] for name in MODELS)
    return {
        "seconds": {"all": usage.seconds, "preparation and start": usage.seconds - jobs, **seconds},
        "job_peaks_mb": {name: by_model[name]["peak_memory_mb"] for name in MODELS},
        "usage": asdict(usage),
    }


def exponent(n_cells, seconds):
    """Slope of log seconds by log cells, of least squares; NaN for a single size or no time at all."""
    if len(n_cells) < 2 or min(seconds) <= 0:
        return float("nan")
    return float(np.polyfit(np.log(n_cells), np.log(seconds), 1)[0])


def table(found):
    """Markdown: a row for each step, a column for each size, and the exponents."""
    sizes = [f["cells"] for f in found]
    head = ["step", *(f"{n / 1e6:g} million" for n in sizes), "exponent"]
    lines = ["| " + " | ".join(head) + " |", "|:--" + "|--:" * (len(head) - 1) + "|"]
    for step in found[0]["seconds"]:
        values = [f["seconds"][step] for f in found]
        lines.append(f"| {step} | " + " | ".join(f"{v:.2f} s" for v in values) + f" | {exponent(sizes, values):.2f} |")
    for name, key in (("private memory at its peak", "private"), ("with pages of files", "peak")):
        lines.append(f"| {name} | " + " | ".join(f"{f['usage'][key] / 2**30:.2f} GB" for f in found) + " | |")
    lines.append("| screen on disk | " + " | ".join(f"{f['bytes'] / 2**30:.2f} GB" for f in found) + " | |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25, 0.5, 1, 2], help="million cells")
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--perturbations", type=int, default=400)
    parser.add_argument("--doubles", type=int, default=100)
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--reuse", type=Path)
    parser.add_argument("--keep", action="store_true", help="delete nothing")
    parser.add_argument("--module", action="store_true", help="call pbench as a module of this interpreter")
    asked = parser.parse_args()
    found = []
    for size in asked.sizes if asked.reuse is None else asked.sizes[:1]:
        folder = asked.folder / f"{size:g}-million"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        n_cells = round(size * 1e6)
        screen = asked.reuse or folder / "screen.h5ad"
        if asked.reuse is None:
            generate(screen, n_cells, asked)
        try:
            own = measure(screen, folder, asked)
        except NoGroups as error:
            sys.exit(str(error))
        found.append({"cells": n_cells, "bytes": screen.stat().st_size, **own})
        (asked.folder / "scale.json").write_text(json.dumps(found, indent=1))
        print(table(found), flush=True)
        if not asked.keep:
            shutil.rmtree(folder / "cache")
            screen.unlink() if asked.reuse is None else None


if __name__ == "__main__":
    main()
