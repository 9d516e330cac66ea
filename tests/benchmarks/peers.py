"""The same tasks as other packages do them, each by the call that its users make; see measure.py."""

from __future__ import annotations

import tempfile

import numpy as np

#: pertpy 1.0.3 keeps the distances of all cells to all cells in memory; beyond this it is called pair by pair.
SQUARE = 20_000


def names_of(screen):
    return [name for name in screen.names if name != "control"]


# cell-eval


def cell_eval_metric(screen):
    """One metric of changes with the pseudobulks that it needs."""
    from cell_eval._types import PerturbationAnndataPair
    from cell_eval.metrics import metrics_registry

    real, predicted = screen.anndata(), screen.anndata(screen.predicted)

    def run():
        pair = PerturbationAnndataPair(real=real, pred=predicted, pert_col="perturbation", control_pert="control")
        found = metrics_registry.compute("pearson_delta", pair)
        return [found[name] for name in names_of(screen)]

    return run


def _cell_eval_profile(screen, profile):
    import cell_eval

    real, predicted = screen.anndata(), screen.anndata(screen.predicted)

    def run():
        with tempfile.TemporaryDirectory() as folder:
            options = {"control_pert": "control", "pert_col": "perturbation", "num_threads": 2, "outdir": folder}
            evaluator = cell_eval.MetricsEvaluator(predicted, real, **options)
            results, _ = evaluator.compute(profile=profile, write_csv=False)
        return results.sort("perturbation")["pearson_delta"].to_numpy()

    return run


def cell_eval_minimal(screen):
    return _cell_eval_profile(screen, "minimal")


def cell_eval_full(screen):
    return _cell_eval_profile(screen, "full")


# Rank tests


def scanpy_wilcoxon(screen):
    return _scanpy(screen, "wilcoxon", tie_correct=True)


def scanpy_t_test(screen):
    return _scanpy(screen, "t-test")


def _scanpy(screen, method, **options):
    import scanpy as sc

    adata = screen.anndata()
    adata.uns["log1p"] = {"base": None}
    order = np.argsort(screen.genes)

    def run():
        sc.tl.rank_genes_groups(adata, "perturbation", reference="control", method=method, **options)
        found = adata.uns["rank_genes_groups"]
        p = np.empty((len(names_of(screen)), len(screen.genes)))
        for i, name in enumerate(names_of(screen)):
            p[i, order] = found["pvals"][name][np.argsort(found["names"][name])]
        return p

    return run


def pdex(screen):
    from pdex import pdex

    adata = screen.anndata()

    def run():
        table = pdex(adata, groupby="perturbation", mode="ref", reference="control", is_log1p=True, threads=2)
        return table["p_value"].to_numpy().reshape(-1, len(screen.genes))

    return run


def illico(screen):
    from illico import asymptotic_wilcoxon

    adata = screen.anndata()

    def run():
        table = asymptotic_wilcoxon(adata, is_log1p=True, group_keys="perturbation", reference="control", n_threads=2)
        return np.stack([table.loc[name, "p_value"].to_numpy() for name in names_of(screen)])

    return run


# Distances between samples of cells, in the space of the coordinates


def pertpy_energy_to_control(screen):
    return _pertpy_to_control(screen, "edistance")


def pertpy_kernel_discrepancy(screen):
    from ours import bandwidth

    return _pertpy_to_control(screen, "mmd", kernel="rbf", gamma=1 / (2 * bandwidth(screen) ** 2))


def _pertpy_to_control(screen, metric, **options):
    import pertpy

    adata = screen.anndata()
    measure = pertpy.tl.Distance(metric=metric, obsm_key="X_pca")
    points = [screen.points[screen.codes == g] for g in range(len(screen.names))]

    def together():
        adata.obsp.clear()
        found = measure.onesided_distances(
            adata, groupby="perturbation", selected_group="control", show_progressbar=False, **options
        )
        return found.loc[list(screen.names)].to_numpy(dtype=np.float64)

    def pair_by_pair():
        control = points[screen.control]
        return [0.0 if g == screen.control else measure(x, control, **options) for g, x in enumerate(points)]

    return pair_by_pair if metric == "edistance" and _keeps_a_square(screen, measure) else together


def pertpy_energy_of_all_pairs(screen):
    import pertpy

    adata = screen.anndata()
    measure = pertpy.tl.Distance(metric="edistance", obsm_key="X_pca")
    points = [screen.points[screen.codes == g] for g in range(len(screen.names))]

    def together():
        adata.obsp.clear()
        found = measure.pairwise(adata, groupby="perturbation", show_progressbar=False)
        return found.loc[list(screen.names), list(screen.names)].to_numpy(dtype=np.float64)

    def pair_by_pair():
        found = np.zeros((len(points), len(points)))
        for i, x in enumerate(points):
            for j in range(i + 1, len(points)):
                found[i, j] = found[j, i] = measure(x, points[j])
        return found

    return pair_by_pair if _keeps_a_square(screen, measure) else together


def _keeps_a_square(screen, measure):
    return len(screen.points) > SQUARE and not hasattr(measure.metric_fct, "supports_value_cache")


TESTED_GROUPS, TESTED_PERMUTATIONS = 10, 100


def pertpy_energy_test(screen):
    """Ten groups and a hundred permutations: all would take hours."""
    import pertpy

    part = screen.part(TESTED_GROUPS)
    adata = part.anndata()
    test = pertpy.tl.DistanceTest("edistance", n_perms=TESTED_PERMUTATIONS, obsm_key="X_pca")

    def run():
        found = test(adata, groupby="perturbation", contrast="control", show_progressbar=False)
        return found["distance"].loc[names_of(part)].to_numpy(dtype=np.float64)

    return run


def scperturb_energy_to_control(screen):
    import scperturb

    adata = screen.anndata()

    def run():
        options = {"obs_key": "perturbation", "control": "control", "dist": "euclidean", "n_jobs": 2, "verbose": False}
        return scperturb.edist_to_control(adata, **options)["distance"].loc[list(screen.names)].to_numpy()

    return run


def scperturb_energy_of_all_pairs(screen):
    import scperturb

    adata = screen.anndata()

    def run():
        found = scperturb.edist(adata, obs_key="perturbation", dist="euclidean", n_jobs=2, verbose=False)
        return found.loc[list(screen.names), list(screen.names)].to_numpy()

    return run


for task in (
    pertpy_energy_to_control,
    pertpy_energy_of_all_pairs,
    pertpy_kernel_discrepancy,
    pertpy_energy_test,
    scperturb_energy_to_control,
    scperturb_energy_of_all_pairs,
):
    task.needs_cells = False
