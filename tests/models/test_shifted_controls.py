"""Shifted controls against sums written out, and its cells against the control cells that they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.models.shifted_controls import ShiftedControls

CONTROLS = sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (40, 30)).astype(np.float32))


def fitted(screen):
    return ShiftedControls().fit(replace(screen, load_controls=lambda context: CONTROLS), seed=0)


def test_the_shift_is_the_mean_over_conditions_with_as_many_targets(screen):
    prediction = fitted(screen).predict([Condition(("X",)), Condition(("X", "Y"))], screen.controls)
    for row, count in enumerate((1, 2)):
        own = [s for c, s in zip(screen.perturbed.conditions, screen.shifts, strict=True) if len(c.targets) == count]
        np.testing.assert_allclose(prediction.mean[row], screen.controls.mean[0] + np.mean(own, axis=0), rtol=1e-6)
    assert not prediction.fallback.any()


def test_cells_are_control_cells_moved_and_not_below_zero(screen):
    asked = Condition(("X",))
    model = fitted(screen)
    prediction = model.predict([asked], screen.controls)
    shift = prediction.mean[0] - screen.controls.mean[0]
    n = CONTROLS.shape[1]
    assert n == len(shift)
    np.testing.assert_allclose(prediction.cells[asked], np.maximum(CONTROLS.toarray() + shift, 0), rtol=1e-5, atol=1e-6)


def test_a_number_of_targets_that_training_lacks_gets_the_mean_of_all_as_a_fallback(screen):
    prediction = fitted(screen).predict([Condition(("X", "Y", "Z"))], screen.controls)
    assert prediction.fallback.tolist() == [True]
    np.testing.assert_allclose(prediction.mean[0], screen.controls.mean[0] + screen.mean_shift, rtol=1e-6)


def test_without_stored_cells_there_are_means(screen):
    prediction = ShiftedControls().fit(screen, seed=0).predict([Condition(("X",))], screen.controls)
    assert prediction.cells is None and prediction.mean.shape == (1, len(screen.genes))
