"""Splits along time and dose: train on what is early or low, test what is late or high; never random."""

from __future__ import annotations

from ...bench.contracts.errors import UsageError
from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest
from .applicable import require
from .folds import Fold, manifests, recorded


def time_extrapolation(
    screen: Screen, *, data_id: str, n_test: int | None = None, min_cells: int = 12
) -> tuple[SplitManifest, ...]:
    """Hold out the latest time points and train on the earlier ones.

    A condition that was measured at late times only is excluded, since there is nothing to extrapolate from.

    Parameters
    ----------
    data_id
        Identity of the data.
    n_test
        Number of time points held out; by default a third of them, rounded down, and at least one.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If the perturbed cells have fewer than two time points.
    UsageError
        If `n_test` leaves no time point for training or none for the test.
    """
    require(screen, "time-extrapolation")
    times = sorted({c.time for c in screen.perturbed if c.time is not None})
    held = max(1, len(times) // 3) if n_test is None else n_test
    if not 1 <= held < len(times):
        raise UsageError(f"n_test={held} cannot be held out of {len(times)} time points; give n_test from 1 to {len(times) - 1}.")
    late = set(times[-held:])
    early = {(c.targets, c.doses, c.context) for c in screen.perturbed if c.time is not None and c.time not in late}
    roles, reasons = {}, {}
    for c in screen.perturbed:
        if c.time is None:
            roles[c], reasons[c] = "excluded", "no time is recorded"
        elif c.time not in late:
            roles[c] = "train"
        elif (c.targets, c.doses, c.context) in early:
            roles[c] = "test"
        else:
            roles[c], reasons[c] = "excluded", "no earlier time point"
    fold = Fold(roles, reasons, declared={"test_times": ", ".join(f"{t:g}" for t in sorted(late))})
    params = recorded(time_extrapolation, n_test=n_test, min_cells=min_cells)
    return manifests(screen, [fold], data_id=data_id, split="time-extrapolation", params=params, min_cells=min_cells, version=1)


def dose_extrapolation(
    screen: Screen, *, data_id: str, cut: float | None = None, min_cells: int = 12
) -> tuple[SplitManifest, ...]:
    """Hold out high doses of each perturbation and train on its lower doses.

    A perturbation's doses are compared over all contexts and times, so a test dose of a perturbation is in training in
    none of them. Conditions with several targets are excluded: their members' doses could give test doses away.

    Parameters
    ----------
    data_id
        Identity of the data.
    cut
        Doses above it are test. By default the highest dose of each perturbation that has at least two.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If no perturbation has two doses, or none has doses on both sides of `cut`.
    """
    require(screen, "dose-extrapolation")
    doses: dict[str, set[float]] = {}
    for c in screen.perturbed:
        if len(c.targets) == 1 and c.doses:
            doses.setdefault(c.targets[0], set()).add(c.doses[0])
    roles, reasons = {}, {}
    for c in screen.perturbed:
        if len(c.targets) != 1:
            roles[c], reasons[c] = "excluded", "more than one target"
        elif not c.doses:
            roles[c], reasons[c] = "excluded", "no dose is recorded"
        else:
            own = doses[c.targets[0]]
            is_high = max(c.doses) > cut if cut is not None else len(own) > 1 and max(c.doses) == max(own)
            roles[c] = "test" if is_high else "train"
            if is_high and cut is not None and min(own) > cut:
                roles[c], reasons[c] = "excluded", "no dose at or below the cut"
    params = recorded(dose_extrapolation, cut=cut, min_cells=min_cells)
    fold = Fold(roles, reasons)
    return manifests(screen, [fold], data_id=data_id, split="dose-extrapolation", params=params, min_cells=min_cells, version=1)
