"""Plugin files for tests of whole commands, as text."""

#: The data set ``toy-screen``.
TOY_SCREEN = """
import numpy as np
from pbench.bench.contracts.screen import Dataset, DatasetCard, Screen

CARD = DatasetCard("toy-screen", "a toy", "made by a test", "CC0", "counts", "control", simulated=True, default_split="doubles")


def load():
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    targets = [f"G{i:02d}" for i in range(8)]
    labels = ["control", *targets, *(f"{a}+{b}" for a, b in zip(targets, targets[1:]))]
    effect = {t: rng.normal(0, 1, 60) for t in targets} | {"control": np.zeros(60)}
    rates = [np.exp(0.5 + 0.5 * sum(effect[t] for t in label.split("+"))) for label in labels]
    X = np.concatenate([rng.poisson(r, (24, 60)) for r in rates]).astype(np.float32)
    obs = pd.DataFrame({"perturbation": np.repeat(labels, 24)}, index=[f"c{i}" for i in range(len(X))])
    return Screen(AnnData(csr_matrix(X), obs=obs, var=pd.DataFrame(index=[f"G{i:02d}" for i in range(60)])), CARD)


TOY = Dataset(card=CARD, data_id=lambda: "toy-screen-1", load=load)
"""

#: Models m0 to m5: each sleeps ``NAP`` seconds, and leaves its process's number in the folder ``PIDS`` where there is one.
SLEEPERS = """
import os
import time
from pathlib import Path

from pbench import Capabilities, Model, Prediction


class Base(Model):
    capabilities = Capabilities(unseen_targets=True)
    scale = 1.0

    def fit(self, data, *, seed):
        if "PIDS" in os.environ:
            (Path(os.environ["PIDS"]) / str(os.getpid())).touch()
        time.sleep(float(os.environ["NAP"]))
        self.shift_ = data.mean_shift
        return self

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions) + self.scale * self.shift_)


for i in range(6):
    globals()[f"M{i}"] = type(f"M{i}", (Base,), {"name": f"m{i}", "scale": i / 4, "__module__": __name__})
del Base
"""
