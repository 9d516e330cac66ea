"""The perceptron on gene embeddings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.resource import FeatureTable
from pbench.models.embedding_mlp import MlpGo, MlpPca
from pbench.models.neural.set_network import SetNetwork


def test_the_network_of_a_set():
    torch.manual_seed(0)
    network = SetNetwork(4, 6, width=8, latent=5, hidden=1, dropout=0.0).eval()
    vectors = torch.randn(3, 4)
    with torch.no_grad():
        one, two, both, none = network(vectors, torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]))
        np.testing.assert_allclose(none, 0, atol=1e-6)
        expected = network.decoder(network.encoder(vectors[0]) + network.encoder(vectors[1])) - network.decoder(torch.zeros(5))
        np.testing.assert_allclose(both, expected, atol=1e-5)
        assert not np.allclose(both, one + two, atol=1e-3)


def test_similar_embeddings_give_similar_changes(make_data):
    """Two groups of targets with two kinds of effects; the embedding tells the groups, and an unseen target belongs to one."""
    genes = [f"G{i:02d}" for i in range(12)]
    data = make_data([Condition((g,)) for g in genes[:10]], seed=2)
    rng = np.random.default_rng(0)
    kind = np.array([i % 2 for i in range(12)])
    effects = rng.normal(0, 1, (2, len(data.genes)))
    mean = data.controls.mean[0] + effects[kind[:10]] + rng.normal(0, 0.05, (10, len(data.genes)))
    data = replace(data, perturbed=replace(data.perturbed, mean=mean.astype(np.float32)))
    values = np.stack([np.eye(2)[k] for k in kind]) + rng.normal(0, 0.1, (12, 2))
    table = FeatureTable(tuple(genes), values.astype(np.float32), "made up")
    model = MlpGo(weight_decay=1e-3, dropout=0.0).fit(replace(data, resources={"go": table}), seed=0)
    asked = [Condition((g,)) for g in genes[10:]]
    change = model.predict(asked, data.controls).mean - data.controls.mean[0]
    for i, row in enumerate(change):
        assert np.corrcoef(row, effects[kind[10 + i]])[0, 1] > 0.9


def test_members_are_averaged(screen):
    model = MlpPca(epochs=5, members=3).fit(screen, seed=0)
    asked = [Condition(("G00", "G20"))]
    alone = [model._changes([n], asked) for n in model.networks_]
    assert np.std(alone, axis=0).max() > 0
    expected = np.mean(alone, axis=0) + screen.controls.mean[0]
    np.testing.assert_allclose(model.predict(asked, screen.controls).mean, expected, rtol=1e-6)


def test_no_target_changes_nothing(screen):
    model = MlpPca(epochs=5).fit(screen, seed=0)
    np.testing.assert_allclose(model.predict([Condition()], screen.controls).mean[0], screen.controls.mean[0], atol=1e-6)
