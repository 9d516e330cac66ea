"""Split generators: functions of a screen that return a manifest for each fold.

A generator is called as ``name(screen, data_id=..., **params)``. Its parameters are keyword-only, have defaults and
fit into JSON. The same screen gives the same manifests whatever the order of its cells, genes and labels.
"""

from __future__ import annotations

CATALOGUE: dict[str, tuple[str, str]] = {
    "doubles": ("doubles:doubles", "All singles train; half of the doubles are test (Ahlmann-Eltze et al. 2025)."),
    "perturbench-combo": (
        "doubles:perturbench_combo",
        "All singles train; 35 % of the doubles are validation, 35 % test (PerturBench).",
    ),
    "gears-simulation": (
        "gears:gears_simulation",
        "A quarter of the perturbed genes is unseen; 0, 1 or 2 genes of a double are seen (GEARS).",
    ),
    "unseen-single": ("targets:unseen_single", "Folds over single perturbations; a test target occurs in no training condition."),
    "unseen-context": ("contexts:unseen_context", "A fold for each context: its perturbed cells are test, its controls train."),
    "unseen-both": ("contexts:unseen_both", "Neither the test targets nor perturbed cells of the test context are in training."),
    "time-extrapolation": ("ordered:time_extrapolation", "The latest time points are test, the earlier ones train."),
    "dose-extrapolation": ("ordered:dose_extrapolation", "The highest dose of each perturbation is test, the lower ones train."),
    "units": (
        "units:units",
        "Units of every perturbation are held out with all of their cells: for latent variables, not out of distribution.",
    ),
    "iid": ("cells:iid", "Random cells of every perturbation are test; not out of distribution, a positive control only."),
}
