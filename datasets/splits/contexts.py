"""Splits that hold out a context: a cell line, cell type or donor whose perturbed cells are unseen."""

from __future__ import annotations

from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest
from .applicable import require
from .folds import Fold, manifests, recorded
from .targets import HELD_OUT_TARGET, target_folds

HELD_OUT_CONTEXT = "held-out context"


def unseen_context(screen: Screen, *, data_id: str, min_cells: int = 12) -> tuple[SplitManifest, ...]:
    """Make a fold for each context: its perturbed conditions are test, those of all other contexts train.

    The control cells of the test context stay in training, which the manifest declares.

    Parameters
    ----------
    data_id
        Identity of the data.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If the perturbed cells have one context.
    """
    require(screen, "unseen-context")
    made = [
        Fold({c: "test" if c.context == context else "train" for c in screen.perturbed}, declared=_declared(context))
        for context in _contexts(screen)
    ]
    params = recorded(unseen_context, min_cells=min_cells)
    return manifests(screen, made, data_id=data_id, split="unseen-context", params=params, min_cells=min_cells, version=1)


def unseen_both(screen: Screen, *, data_id: str, folds: int = 5, seed: int = 0, min_cells: int = 12) -> tuple[SplitManifest, ...]:
    """Test a fold of perturbations in one context, and train without that context and without those perturbations.

    There is a manifest for each pair of a perturbation fold and a context in which one of its perturbations occurs.
    Conditions of the test context, and conditions elsewhere that contain a test target, are excluded.

    Parameters
    ----------
    data_id
        Identity of the data.
    folds
        Number of folds over single perturbations.
    seed
        Of the division into folds.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If the screen has one context or fewer than two single-target perturbations.
    UsageError
        If `folds` is out of range.
    """
    require(screen, "unseen-both")
    made = []
    for part in target_folds(screen, folds=folds, seed=seed):
        held = set(part)
        for context in _contexts(screen):
            roles, reasons = {}, {}
            for c in screen.perturbed:
                has_target = bool(held & set(c.targets))
                if c.context == context and has_target and len(c.targets) == 1:
                    roles[c] = "test"
                elif c.context == context or has_target:
                    roles[c] = "excluded"
                    reasons[c] = HELD_OUT_TARGET if has_target else HELD_OUT_CONTEXT
                else:
                    roles[c] = "train"
            made.append(Fold(roles, reasons, declared=_declared(context)))
    params = recorded(unseen_both, folds=folds, seed=seed, min_cells=min_cells)
    return manifests(screen, made, data_id=data_id, split="unseen-both", params=params, min_cells=min_cells, version=1)


def _contexts(screen: Screen) -> list[str | None]:
    return sorted({c.context for c in screen.perturbed}, key=lambda context: (context is not None, context or ""))


def _declared(context: str | None) -> dict[str, str]:
    return {"target_context_controls": "train", "test_context": "none given" if context is None else context}
