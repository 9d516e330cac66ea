"""One small screen of cells and one prediction of it, which every implementation reads in its own way.

Each comparison names the other implementation, its version and the tolerance; pytest prints them as a table at the end,
and ``--junitxml`` keeps them. docs/parity.md lists each of them, which is checked, and the differences that are meant to be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import pbench
from pbench.bench.contracts.cell_truth import CellTruth, embed
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.contracts.truth import Truth
from pbench.metrics import CATALOGUE

DOCUMENTATION = Path(pbench.__file__).parent / "docs" / "parity.md"
RECORDS = pytest.StashKey[list]()
N_PERTURBATIONS, N_GENES, N_CONTROLS, N_COMPONENTS = 12, 150, 140, 8


@dataclass(frozen=True)
class Cells:
    """Cells on the log1p scale with a label each; ``control`` is among the labels."""

    X: np.ndarray
    labels: np.ndarray
    genes: np.ndarray

    @property
    def names(self):
        return np.array([name for name in np.unique(self.labels) if name != "control"])

    def of(self, name):
        return self.X[self.labels == name]

    def means(self):
        return np.stack([self.of(name).mean(axis=0, dtype=np.float64) for name in self.names])

    def anndata(self, *, embedded=None):
        import pandas as pd
        from anndata import AnnData
        from scipy.sparse import csr_matrix

        obs = pd.DataFrame({"perturbation": self.labels}, index=[f"cell{i:05d}" for i in range(len(self.X))], dtype="category")
        adata = AnnData(csr_matrix(self.X), obs=obs, var=pd.DataFrame(index=self.genes))
        if embedded is not None:
            adata.obsm["X_pca"] = embedded(self.X)
        return adata


@pytest.fixture(scope="session")
def screen():
    """Truth and prediction: sparse counts with real effects on a fifth of the genes, half of the values zero, many ties."""
    rng = np.random.default_rng(7)
    base = rng.gamma(0.5, 1.5, N_GENES) + 0.25
    effect = rng.normal(0, 1.0, (N_PERTURBATIONS, N_GENES)) * (rng.random((N_PERTURBATIONS, N_GENES)) < 0.2)
    # Between its own effect and the next one's, so that ranks differ.
    own = rng.uniform(0.2, 0.8, (N_PERTURBATIONS, 1))
    guess = own * effect + (1 - own) * np.roll(effect, 1, axis=0)
    genes = np.array([f"gene{i:04d}" for i in range(N_GENES)])
    names = np.array([f"P{i:03d}" for i in range(N_PERTURBATIONS)])

    def draw(rate, n):
        counts = rng.poisson(np.broadcast_to(rate, (n, N_GENES)) * rng.gamma(5, 0.2, (n, 1)))
        return np.log1p(counts * (100 / np.maximum(counts.sum(axis=1, keepdims=True), 1))).astype(np.float32)

    sizes = rng.integers(30, 60, N_PERTURBATIONS)

    def cells(effects, controls):
        groups = [draw(base * np.exp(e), n) for e, n in zip(effects, sizes, strict=True)]
        labels = np.repeat([*names, "control"], [*map(len, groups), len(controls)])
        return Cells(np.concatenate([*groups, controls]), labels, genes)

    controls = draw(base, N_CONTROLS)
    return cells(effect, controls), cells(guess, controls)


def _profiles(conditions, groups):
    return Profiles(
        conditions,
        np.stack([g.mean(axis=0, dtype=np.float64) for g in groups]).astype(np.float32),
        np.stack([g.var(axis=0, ddof=1, dtype=np.float64) for g in groups]).astype(np.float32),
        np.array([len(g) for g in groups]),
    )


def _tests(groups, control):
    """Mann-Whitney p and probability of superiority of each group against control, by scipy, a gene at a time."""
    from scipy.stats import mannwhitneyu

    p, auc = (np.full((len(groups), control.shape[1]), np.nan) for _ in range(2))
    for i, group in enumerate(groups):
        for g in range(control.shape[1]):
            if len(np.unique(np.concatenate([group[:, g], control[:, g]]))) > 1:
                u, p[i, g] = mannwhitneyu(group[:, g], control[:, g], method="asymptotic", use_continuity=True)
                auc[i, g] = u / (len(group) * len(control))
            else:
                auc[i, g] = 0.5
    return p, auc.astype(np.float32)


def build_truth(cells, *, conditions=None, targets=None):
    """The `Truth` of a screen of cells, from numpy and scipy alone."""
    from scipy.sparse import csr_matrix
    from scipy.spatial.distance import pdist

    groups, control = [cells.of(name) for name in cells.names], cells.of("control")
    conditions = conditions or tuple(Condition((str(name),)) for name in cells.names)
    targets = targets or ((),) * len(groups)
    profiles, controls = _profiles(conditions, groups), _profiles((Condition(),), [control])
    ctrl = np.repeat(controls.mean.astype(np.float64), len(groups), axis=0)
    shift = profiles.mean - ctrl
    loo = ctrl + (shift.sum(axis=0) - shift) / (len(groups) - 1)
    with np.errstate(invalid="ignore"):
        t = np.nan_to_num(np.abs(shift) / np.sqrt(profiles.var / profiles.n_cells[:, None] + controls.var / len(control)))
    for row, own in enumerate(targets):
        t[row, list(own)] = -1.0
    order = np.argsort(-t, axis=1, kind="stable")[:, :100]
    p, auc = _tests(groups, control)
    mean = control.mean(axis=0)
    components = np.linalg.svd(control - mean, full_matrices=False)[2][:N_COMPONENTS]
    embedded = [embed(g, mean, components) for g in groups]
    of_cells = CellTruth(
        load=lambda i: csr_matrix(groups[i]),
        load_controls=lambda _: csr_matrix(control),
        p=p,
        auc=auc,
        pca_mean=mean,
        pca_components=components,
        bandwidth=float(np.median(pdist(np.concatenate(embedded)))),
        coordinates=embedded.__getitem__,
    )
    references = {"ctrl": ctrl, "pert": ctrl + shift.mean(axis=0), "loo": loo}
    return Truth(cells.genes, profiles, controls, references, order, targets, (profiles, profiles), cells=of_cells)


def build_comparison(truth, predicted):
    """The `Comparison` of predicted cells with a truth."""
    from scipy.sparse import csr_matrix

    groups = [predicted.of(name) for name in predicted.names]
    variance = np.stack([g.var(axis=0, ddof=1, dtype=np.float64) for g in groups])
    cells = {i: csr_matrix(g) for i, g in enumerate(groups)}
    return Comparison(truth, predicted.means().astype(np.float32).astype(np.float64), variance, cells)


@pytest.fixture(scope="session")
def comparison(screen):
    real, predicted = screen
    return build_comparison(build_truth(real), predicted)


@pytest.fixture(scope="session")
def compare():
    """Builds the `Comparison` of two sets of cells."""
    return lambda real, predicted, **truth: build_comparison(build_truth(real, **truth), predicted)


@pytest.fixture(scope="session")
def value():
    """Values of a metric by id."""
    return lambda metric, comparison: CATALOGUE[metric](comparison).value


@pytest.fixture(scope="session")
def with_cells():
    """`Cells` with other values or labels."""
    return replace


@pytest.fixture
def agree(request, record_property):
    """Asserts that two implementations agree, and records who was compared with what tolerance and how it went."""
    records = request.config.stash.setdefault(RECORDS, [])

    def check(peer, formula, ours, theirs, *, tolerance):
        ours, theirs = (np.asarray(v, dtype=np.float64) for v in (ours, theirs))
        assert ours.shape == theirs.shape
        assert np.isfinite(theirs).any(), "nothing was compared"
        with np.errstate(invalid="ignore"):
            worst = float(np.nanmax(np.abs(ours - theirs) / (1 + np.abs(theirs))))
        records.append((formula, peer, version(peer), tolerance, worst))
        record_property("parity", _line(*records[-1]))
        documented = rf"\| {re.escape(formula)} \| {re.escape(peer)} [^|]+ \| {tolerance:.0e} \|"
        assert re.search(documented, DOCUMENTATION.read_text()), f"docs/parity.md lacks {_line(*records[-1])}"
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=f"{formula} against {peer}")

    return check


def pytest_terminal_summary(terminalreporter, config):
    """The table of docs/parity.md."""
    records = config.stash.get(RECORDS, [])
    if records:
        terminalreporter.section("agreement with other implementations")
        for record in sorted(set(records), key=lambda r: (r[1].lower(), *r)):
            terminalreporter.line(_line(*record))


def _line(formula, peer, release, tolerance, worst):
    return f"| {formula} | {peer} {release} | {tolerance:.0e} | {worst:.0e} |"
