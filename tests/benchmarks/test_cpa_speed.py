"""Cells a second of CPA's training at the official architecture, while pretraining and while it alternates, beside cpa-tools.

``pytest tests/benchmarks/test_cpa_speed.py --benchmark-only -s -o addopts=--import-mode=importlib``; with ``PBENCH_CPA_PYTHON`` naming
an interpreter that has cpa-tools, the official code trains on the same cells. ``PBENCH_BENCH_CELLS`` sets their number (20,000).
"""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from norman_training import norman_training

from pbench.models.cpa import Cpa

pytest.importorskip("torch")
N_CELLS = int(os.environ.get("PBENCH_BENCH_CELLS", "20000"))
PYTHON = os.environ.get("PBENCH_CPA_PYTHON")
#: The architecture of the official Norman tutorial; no mixture, as while it warms up.
SHAPE = {**Cpa.presets["paper"], "epochs": 1, "patience": 0, "mixup": 0.0}

#: Times all steps after the first ten: batches, forward and backward passes, optimisers and the figures of each step.
SCRIPT = """
import sys, time, numpy as np, anndata, cpa, torch
from cpa._task import CPATrainingPlan
path, batch, alternating = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "alternating"
cells = anndata.read_h5ad(path)
cpa.CPA.setup_anndata(cells, perturbation_key="perturbation", control_group="control", is_count_data=True, max_comb_len=2)
model = cpa.CPA(cells, split_key="split", train_split="train", valid_split="valid", test_split="ood", n_latent=32, recon_loss="nb",
    doser_type="linear", n_hidden_encoder=256, n_layers_encoder=4, n_hidden_decoder=256, n_layers_decoder=2,
    use_batch_norm_encoder=True, use_batch_norm_decoder=False, dropout_rate_encoder=0.2, seed=0)
ends, sizes, step = [], [], CPATrainingPlan.training_step
def timed(self, batch, i):
    out = step(self, batch, i)
    ends.append(time.perf_counter()); sizes.append(len(batch["X"]))
    return out
CPATrainingPlan.training_step = timed
if alternating:
    CPATrainingPlan.do_start_adv_training = property(lambda self: True)
model.train(max_epochs=1, use_gpu=False, batch_size=batch, check_val_every_n_epoch=1, enable_progress_bar=False, plan_kwargs=dict(
    n_epochs_pretrain_ae=10, n_epochs_adv_warmup=50, mixup_alpha=0.0, adv_steps=3, reg_adv=10.0, pen_adv=20.0, n_layers_adv=2,
    n_hidden_adv=128, dropout_rate_adv=0.3))
print("speed", sum(sizes[11:]) / (ends[-1] - ends[10]))
"""


@pytest.fixture(scope="module")
def data():
    return norman_training(N_CELLS)


@pytest.fixture(scope="module")
def file(data, tmp_path_factory):
    import pandas as pd
    from anndata import AnnData

    cells = data.cells
    label = np.array([c.label for c in cells.conditions])[cells.codes]
    split = np.where(np.arange(len(label)) % 50 == 0, "valid", "train")
    obs = pd.DataFrame({"perturbation": label, "split": split}, index=[f"cell{i}" for i in range(len(label))])
    path = tmp_path_factory.mktemp("cpa") / "cells.h5ad"
    AnnData(cells.X, obs=obs).write_h5ad(path)
    return path


@pytest.mark.parametrize("phase", ["pretraining", "alternating"])
@pytest.mark.parametrize("batch_size", [128, 512])
def test_cells_a_second(batch_size, phase, data, file, benchmark, monkeypatch):
    monkeypatch.setattr("pbench.models.neural.held_out.SHARE", 0.0)
    model = Cpa(**{**SHAPE, "batch_size": batch_size, "pretraining": 1 if phase == "pretraining" else 0})
    speeds = []

    def run():
        model.fit(data, seed=0)
        speeds.append(model.history_.cells_per_second)

    benchmark.pedantic(run, rounds=3)
    ours = float(np.median(speeds))
    line = f"CPA, {phase}, batch {batch_size}: {ours:,.0f} cells/s"
    if PYTHON:
        command = [PYTHON, "-c", SCRIPT, str(file), str(batch_size), phase]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent)
        assert done.returncode == 0, done.stderr[-2000:]
        theirs = float(next(text for text in done.stdout.splitlines() if text.startswith("speed")).split()[1])
        benchmark.extra_info["official"] = theirs
        line += f", cpa-tools {theirs:,.0f} ({ours / theirs:.1f} times)"
    benchmark.extra_info["cells_per_second"] = ours
    print(line)
