"""scGen: arrows in the latent space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.models.sams_vae import SamsVae
from pbench.models.scgen import ScGen

QUICK = {"epochs": 3, "width": 32, "hidden": 1, "latent": 8}


def test_the_arrow_is_the_difference_of_mean_codes(screen):
    model = ScGen(**QUICK).fit(screen, seed=0)
    cells = screen.cells
    codes = model.encode(cells)["latent"]
    assert codes.shape == (cells.X.shape[0], 8)
    own = cells.conditions.index(Condition(("G03",)))
    control = cells.conditions.index(Condition())
    expected = codes[cells.codes == own].mean(axis=0) - codes[cells.codes == control].mean(axis=0)
    np.testing.assert_allclose(model.arrows_[Condition(("G03",))], expected, rtol=1e-4, atol=1e-5)


def test_predictions_decode_moved_codes(screen):
    import torch

    model = ScGen(**QUICK).fit(screen, seed=0)
    double = Condition(("G00", "G04"))
    prediction = model.predict([double], screen.controls)
    with torch.no_grad():
        code = model.network_.encode(torch.from_numpy(model.starts_[None].cells))
        arrow = model.arrows_[Condition(("G00",))] + model.arrows_[Condition(("G04",))]
        decoded = model.network_.decode(code + torch.from_numpy(arrow).float())
    np.testing.assert_allclose(prediction.mean[0], decoded.mean.double().mean(dim=0), rtol=1e-6)
    spread = decoded.mean.double().var(dim=0, correction=0) + decoded.spread.exp()
    np.testing.assert_allclose(prediction.variance[0], spread, rtol=1e-5)


def test_a_perturbation_is_carried_into_another_context(two_contexts):
    model = ScGen(**QUICK).fit(two_contexts, seed=0)
    # G00 was seen in a and b: its arrow is the mean of both; G01 in a only.
    asked = [Condition(("G00",), context="c"), Condition(("G01",), context="b"), Condition(("G00", "G02"), context="a")]
    prediction = model.predict(asked, two_contexts.controls)
    assert prediction.conditions == tuple(asked)
    codes = model.encode(two_contexts.cells)["latent"]
    cells = two_contexts.cells

    def centre(condition):
        return codes[cells.codes == cells.conditions.index(condition)].mean(axis=0)

    arrows = [centre(Condition(("G00",), context=c)) - centre(Condition(context=c)) for c in "ab"]
    np.testing.assert_allclose(model.arrows_[Condition(("G00",))], np.mean(arrows, axis=0), rtol=1e-4, atol=1e-5)
    # A double that was seen has an arrow of its own.
    assert Condition(("G00", "G02")) in model.arrows_


def test_what_it_cannot_answer(screen, two_contexts):
    model = ScGen(**QUICK).fit(screen, seed=0)
    prediction = model.predict([Condition(("G10", "G00")), Condition(("G10", "G11"))], screen.controls)
    assert prediction.absent == {Condition(("G00", "G10")): "capability: no training single for G10"}
    other = ScGen(**QUICK).fit(two_contexts, seed=0).predict([Condition(("G00",), context="z")], two_contexts.controls)
    assert other.absent == {Condition(("G00",), context="z"): "capability: no control cells of context z"}


def test_no_perturbation_moves_nothing_and_cells_are_the_same_each_time(screen):
    model = ScGen(**QUICK).fit(screen, seed=0)
    prediction = model.predict([Condition(), Condition(("G00",))], screen.controls)
    cells = prediction.cells[Condition(("G00",))]
    np.testing.assert_array_equal(cells, prediction.cells[Condition(("G00",))])
    assert cells.shape == (len(model.starts_[None].cells), len(screen.genes))
    assert (cells >= 0).all()
    with pytest.raises(KeyError):
        prediction.cells[Condition(("G01",))]


def test_it_learns_to_return_cells(screen):
    model = ScGen(epochs=80, width=64, latent=16, batch_size=32, dropout=0.0).fit(screen, seed=0)
    single = Condition(("G02",))
    predicted = model.predict([single], screen.controls).mean[0]
    truth, control = screen.perturbed.mean[screen.perturbed.row(single)], screen.controls.mean[0]
    assert np.mean((predicted - truth) ** 2) < 0.5 * np.mean((control - truth) ** 2)


def test_cells_of_an_unknown_target_are_encoded_where_the_network_is_told_nothing(screen):
    cells = screen.cells
    strange = replace(cells, conditions=(*cells.conditions[:-1], Condition(("new",))))
    codes = ScGen(**QUICK).fit(screen, seed=0).encode(strange)["latent"]
    assert np.isfinite(codes).all()
    with pytest.raises(UsageError, match="new was not trained on"):
        SamsVae(epochs=1).fit(screen, seed=0).encode(strange)
