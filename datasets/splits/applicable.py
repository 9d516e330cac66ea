"""Which splits a screen can be divided by, and why not by the others."""

from __future__ import annotations

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import DataError
from ...bench.contracts.screen import Screen


def applicable(screen: Screen) -> dict[str, str]:
    """Say for every built-in split whether a screen can be divided that way.

    Returns
    -------
    dict
        Name of the split to an empty string where it applies, else to what the screen lacks.
    """
    perturbed = screen.perturbed
    targets = {t for c in perturbed for t in c.targets}
    singles = {c.targets for c in perturbed if len(c.targets) == 1}
    doubles = {c.targets for c in perturbed if len(c.targets) == 2}
    contexts = {c.context for c in perturbed}
    times = {c.time for c in perturbed if c.time is not None}

    combination = _lack("two-target perturbations", len(doubles), 2) or _lack("single-target perturbations", len(singles), 1)
    single = _lack("single-target perturbations", len(singles), 2)
    context = _lack("contexts", len(contexts), 2)
    return {
        "doubles": combination,
        "perturbench-combo": combination,
        # Below three genes GEARS' two draws leave no training condition.
        "gears-simulation": _lack("perturbed genes", len(targets), 3),
        "unseen-single": single,
        "unseen-context": context,
        "unseen-both": single or context,
        "time-extrapolation": _lack("time points", len(times), 2),
        "dose-extrapolation": _lack("doses of one perturbation", _doses_of_one_target(perturbed), 2),
        "units": "",
        "iid": "",
    }


def require(screen: Screen, split: str) -> None:
    """Refuse a screen that cannot be divided by `split`.

    Raises
    ------
    DataError
        Says what is missing and which splits work for this screen.
    """
    reasons = applicable(screen)
    if reasons[split]:
        fitting = ", ".join(name for name, reason in reasons.items() if not reason)
        raise DataError(
            f"split '{split}' does not fit data set '{screen.card.name}': {reasons[split]}. Splits that fit: {fitting}."
        )


def _lack(what: str, found: int, needed: int) -> str:
    return "" if found >= needed else f"it needs at least {needed} {what} and the screen has {found}"


def _doses_of_one_target(perturbed: tuple[Condition, ...]) -> int:
    doses: dict[str, set[float]] = {}
    for condition in perturbed:
        if len(condition.targets) == 1 and condition.doses:
            doses.setdefault(condition.targets[0], set()).add(condition.doses[0])
    return max(map(len, doses.values()), default=0)
