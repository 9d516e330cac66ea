"""The three networks of PerturBench's references, computed by hand, and what training them gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import TrainingFailed
from pbench.bench.contracts.training import Cells
from pbench.models.decoder_only import DecoderOnly
from pbench.models.latent_additive import LatentAdditive
from pbench.models.linear_additive import LinearAdditive

QUERIES = [Condition(("G00",)), Condition(("G01", "G05"))]


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def layer_norm(x, w, b):
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) * w + b


def perceptron(x, weights, name):
    """One hidden layer in numpy."""
    w = {k.removeprefix(name + "."): v for k, v in weights.items() if k.startswith(name + ".")}
    layers = sorted({int(k.split(".")[0]) for k in w})
    for i in layers[:-1]:
        if w[f"{i}.weight"].ndim == 2:
            x = x @ w[f"{i}.weight"].T + w[f"{i}.bias"]
        else:
            x = np.maximum(layer_norm(x, w[f"{i}.weight"], w[f"{i}.bias"]), 0)
    return x @ w[f"{layers[-1]}.weight"].T + w[f"{layers[-1]}.bias"]


def weights_of(model):
    return {k: v.numpy().astype(np.float64) for k, v in model.network_.state_dict().items()}


def told(model, condition):
    return model.codes_.multi_hot([condition]).astype(np.float64)


FORMULAS = {
    LinearAdditive: lambda x, u, w: x + u @ w["effect.weight"].T + w["effect.bias"],
    LatentAdditive: lambda x, u, w: perceptron(perceptron(x, w, "cell") + perceptron(u, w, "perturbation"), w, "decoder"),
    DecoderOnly: lambda x, u, w: np.repeat(perceptron(u, w, "decoder"), len(x), axis=0),
}


@pytest.mark.parametrize("cls", FORMULAS)
def test_predictions_are_the_formula(cls, screen):
    model = cls(epochs=2).fit(screen, seed=0)
    x, w = model.starts_[None].astype(np.float64), weights_of(model)
    prediction = model.predict(QUERIES, screen.controls)
    for condition, mean in zip(prediction.conditions, prediction.mean, strict=True):
        expected = softplus(FORMULAS[cls](x, told(model, condition), w)).mean(axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", FORMULAS)
def test_a_raw_screen_may_be_negative(cls, make_data):
    data = make_data([Condition((g,)) for g in ("G00", "G01")])
    cells = data.cells
    shifted = Cells(sparse.csr_matrix(cells.X.toarray() - 10), cells.codes, cells.conditions, "raw")
    data = replace(data, scale="raw", load_cells=lambda role: shifted)
    model = cls(epochs=60, learning_rate=0.05).fit(data, seed=0)
    assert model.predict([Condition(("G00",))], data.controls).mean.mean() < -3


def test_linear_additive_finds_the_changes_of_the_singles(make_data):
    data = make_data([Condition((f"G{i:02d}",)) for i in range(6)])
    model = LinearAdditive(epochs=300, batch_size=32, weight_decay=0.0).fit(data, seed=0)
    predicted = model.predict(data.perturbed.conditions, data.controls).mean
    no_change = data.controls.control_mean(data.perturbed.conditions)
    error, before = (np.mean((p - data.perturbed.mean) ** 2) for p in (predicted, no_change))
    assert error < 0.1 * before


def test_decoder_only_ignores_the_control_cells(screen):
    model = DecoderOnly(epochs=2).fit(screen, seed=0)
    before = model.predict(QUERIES, screen.controls).mean
    model.starts_ = {None: model.starts_[None] + 5}
    np.testing.assert_allclose(model.predict(QUERIES, screen.controls).mean, before, rtol=1e-6)


@pytest.mark.parametrize("cls", [LatentAdditive, DecoderOnly])
def test_training_beats_no_change_on_what_was_trained(cls, screen):
    model = cls(epochs=60, batch_size=32).fit(screen, seed=0)
    known = model.predict(list(screen.perturbed.conditions), screen.controls)
    truth = screen.perturbed.mean[[screen.perturbed.row(c) for c in known.conditions]]
    no_change = screen.controls.control_mean(known.conditions)
    assert np.mean((known.mean - truth) ** 2) < 0.7 * np.mean((no_change - truth) ** 2)


def test_contexts_are_told(two_contexts):
    model = LinearAdditive(epochs=2).fit(two_contexts, seed=0)
    assert model.codes_.n_covariates == 3
    asked = [Condition(("G00",), context="a"), Condition(("G00",), context="c"), Condition(("G09",), context="a")]
    prediction = model.predict(asked, two_contexts.controls)
    assert prediction.conditions == tuple(asked[:2])
    assert set(prediction.absent) == {asked[2]}


def test_a_loss_that_explodes_is_told(screen):
    with pytest.raises(TrainingFailed, match="lower learning_rate"):
        LatentAdditive(epochs=30, learning_rate=1e30).fit(screen, seed=0)


def test_control_cells_can_be_asked_for(screen):
    model = LinearAdditive(epochs=2).fit(screen, seed=0)
    prediction = model.predict([Condition()], screen.controls)
    with torch.no_grad():
        assert prediction.mean.shape == (1, len(screen.genes))
    assert np.isfinite(prediction.mean).all()


def test_diagnostics_are_json(screen):
    import json

    text = json.dumps(LatentAdditive(epochs=2).fit(screen, seed=0).diagnostics())
    assert json.loads(text)["epochs"] == 2
