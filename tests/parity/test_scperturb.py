"""scPerturb's energy distance."""

from __future__ import annotations

import numpy as np
import pytest

scperturb = pytest.importorskip("scperturb", reason="scperturb is not installed: pip install 'pbench[parity]'")


@pytest.mark.parametrize(("power", "metric"), [(1, "euclidean"), (2, "sqeuclidean")])
def test_energy_distances(agree, screen, power, metric):
    """With ``sample_correct``, its default, scPerturb divides by n (n - 1) as we do; squared distances are its default."""
    from pbench.bench.kernels.pairwise import energy_distances, energy_matrix

    real, _ = screen
    adata = real.anndata(embedded=lambda X: X[:, :20].astype(np.float64))
    names, codes = np.unique(real.labels, return_inverse=True)
    control = int(np.flatnonzero(names == "control")[0])
    theirs = scperturb.edist_to_control(adata, control="control", dist=metric, n_jobs=1, verbose=False)
    ours = energy_distances(adata.obsm["X_pca"], codes, len(names), control, power=power)
    others = np.arange(len(names)) != control
    to_control = theirs["distance"].loc[names].to_numpy()
    agree("scperturb", f"energy distance to control, power {power}", ours[others], to_control[others], tolerance=1e-6)
    theirs = scperturb.edist(adata, dist=metric, n_jobs=1, verbose=False).loc[names, names].to_numpy()
    ours = energy_matrix(adata.obsm["X_pca"], codes, len(names), power=power)
    agree("scperturb", f"energy distances of all pairs, power {power}", ours, theirs, tolerance=1e-6)
