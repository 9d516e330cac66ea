"""CPA: the network, the likelihood of counts, the adversaries, and what a fitted model says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.special import gammaln
from scipy.stats import nbinom

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import TrainingFailed, UsageError
from pbench.bench.contracts.model import build
from pbench.bench.contracts.training import Cells, TrainingData
from pbench.bench.engine.check import check_model
from pbench.bench.engine.statistics import group_sums
from pbench.models.cpa import Cpa, CpaNoAdversary

torch = pytest.importorskip("torch")
QUICK = {"epochs": 3, "width": 16, "latent": 6, "pretraining": 1, "warm_up": 1, "batch_size": 64}


@pytest.fixture(scope="module")
def counts():
    """Counts of three singles and a double with a strong effect each, and of controls, in 25 genes."""
    rng = np.random.default_rng(0)
    singles = [Condition((t,)) for t in ("A", "B", "C")]
    conditions = (Condition(), *singles, Condition(("A", "B")))
    effect = {t: np.where(np.arange(25) // 5 == i, 1.5, 0.0) for i, t in enumerate("ABC")}
    base = rng.gamma(2, 2, 25)
    sizes = [200, 80, 80, 80, 80]
    rows = [
        rng.poisson(rng.gamma(4, base * np.exp(sum((effect[t] for t in c.targets), np.zeros(25))) / 4, (n, 25)))
        for c, n in zip(conditions, sizes, strict=True)
    ]
    X = sparse.csr_matrix(np.concatenate(rows).astype(np.float32))
    codes = np.repeat(np.arange(len(conditions)), sizes)
    sums = group_sums(X, codes, len(conditions), scale="counts")
    return TrainingData(
        genes=np.array([f"G{i:02d}" for i in range(25)]),
        perturbed=sums.pool([[i] for i in range(1, len(conditions))], conditions[1:]),
        controls=sums.pool([[0]], conditions[:1]),
        validation=sums.pool([], ()),
        scale="counts",
        load_cells=lambda role: Cells(X, codes, conditions, "counts"),
    )


def scene(kind="normal", n_genes=12, seed=0, told=None, covariates=None):
    from pbench.models.neural.generation import Scene

    rng = np.random.default_rng(seed)
    told = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]) if told is None else told
    covariates = torch.zeros(len(told), 0) if covariates is None else covariates
    mean = rng.dirichlet(np.ones(n_genes)) if kind == "counts" else rng.random(n_genes)
    sizes = {"n_genes": n_genes, "n_targets": told.shape[1], "n_covariates": covariates.shape[1], "n_conditions": len(told)}
    return Scene(**sizes, n_cells=100, kind=kind, mean=mean, variance=rng.random(n_genes) + 0.1, told=told, covariates=covariates)


SHAPE = {"width": 8, "latent": 4, "encoder_layers": 2, "decoder_layers": 1, "dropout": 0.0, "doser": "linear"}


def network(of=None, **change):
    from pbench.models.neural.cpa_network import CpaNetwork

    torch.manual_seed(3)
    shape = {**SHAPE, "norm": "layer", "decoder_norm": "layer", "variational": False}
    return CpaNetwork(of or scene(), **{**shape, **change})


def batch(of, n=40, seed=1):
    from pbench.models.neural.cell_batches import Batch

    rng = np.random.default_rng(seed)
    codes = torch.from_numpy(rng.integers(0, of.n_conditions, n))
    if of.kind == "normal":
        return Batch(torch.from_numpy(rng.normal(size=(n, of.n_genes)).astype(np.float32)), codes)
    values = torch.from_numpy(rng.poisson(2.0, (n, of.n_genes)).astype(np.float32))
    depth = values.sum(dim=1)
    return Batch(torch.log1p(values * (1e4 / depth[:, None])), codes, counts=values, depth=depth)


class TestNetwork:
    @pytest.mark.parametrize("kind", ["normal", "counts"])
    def test_forward_is_that_of_numpy(self, kind):
        of = scene(kind, covariates=torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 0]]))
        net, own = network(of).eval(), batch(of)
        torch.nn.init.normal_(net.head.linear.weight)
        w = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}

        def norm(h, name):
            return (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[
                f"{name}.bias"
            ]

        def linear(h, name):
            return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

        hidden = own.cells.double().numpy()
        for i in (0, 3):
            hidden = np.maximum(norm(linear(hidden, f"encoder.{i}"), f"encoder.{i + 1}"), 0)
        basal = linear(hidden, "encoder.6")
        codes = own.codes.numpy()
        latent = basal + of.told.numpy()[codes] @ w["targets"] + of.covariates.numpy()[codes] @ w["covariates"]
        out = linear(np.maximum(norm(linear(latent, "decoder.0"), "decoder.1"), 0), "head.linear")
        if kind == "counts":
            share = np.exp(out - out.max(1, keepdims=True))
            out = own.depth.numpy()[:, None] * share / share.sum(1, keepdims=True)
        with torch.no_grad():
            found = net.latents(own.cells, of.told[own.codes], of.covariates[own.codes])
            imagined = net.imagine(own.cells, own.depth, of.told[own.codes], of.covariates[own.codes])
            loss = net.loss(own)
        np.testing.assert_allclose(found["invariant"], basal, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["responsive"], latent, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(imagined.mean, out, rtol=1e-3, atol=1e-4)
        if kind == "counts":
            log_p = nbinom.logpmf(own.counts, 1, 1 / (1 + out)) + gammaln(own.counts.numpy() + 1)
            np.testing.assert_allclose(loss, -log_p.sum(axis=1).mean(), rtol=1e-4)
        else:
            weight = of.variance / of.variance.mean()
            error = (own.cells.numpy() - out) ** 2 / np.exp(w["head.spread"]) + w["head.spread"]
            np.testing.assert_allclose(loss, 0.5 * (error @ weight).mean(), rtol=1e-4)

    @pytest.mark.parametrize("doser", ["linear", "sigmoid", "log-sigmoid"])
    def test_combinations_add_up_and_a_dose_of_zero_is_control(self, doser):
        net = network(doser=doser)
        if doser != "linear":
            torch.nn.init.normal_(net.doser.offset)
        doses = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 0, 3], [2, 0, 3], [-2, 0, 0]])
        none, first, last, both, opposite = net.effects(doses, torch.zeros(5, 0)).detach()
        torch.testing.assert_close(none, torch.zeros(4))
        torch.testing.assert_close(first + last, both)
        assert first.abs().max() > 1e-3
        assert (first * opposite).sum() < 0
        assert torch.isfinite(net.effects(doses, torch.zeros(5, 0))).all()

    def test_dosers_are_their_formulas(self):
        from pbench.models.neural.cpa_network import Doser

        dose = np.array([[0.0, 0.5], [3.0, 10.0]])
        sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
        for kind, scaled in (("sigmoid", dose), ("log-sigmoid", np.log1p(dose))):
            doser = Doser(kind, 2)
            slope, offset = np.array([0.7, 1.4]), np.array([-0.5, 0.3])
            with torch.no_grad():
                doser.slope.copy_(torch.from_numpy(slope))
                doser.offset.copy_(torch.from_numpy(offset))
                found = doser(torch.from_numpy(dose).float())
            np.testing.assert_allclose(found, sigmoid(slope * scaled + offset) - sigmoid(offset), rtol=1e-5, atol=1e-7)
        with pytest.raises(UsageError, match="doser='cubic' is unknown; use auto, linear"):
            Doser("cubic", 2)

    def test_mixing_is_linear_in_counts_and_effects(self):
        from pbench.models.neural.cpa_network import Blend, looked_up

        of = scene("counts")
        own = batch(of)
        torch.manual_seed(0)
        mixed, blend = Blend.of(own, 0.25)
        torch.manual_seed(0)
        order = torch.randperm(len(own))
        torch.testing.assert_close(mixed.counts, 0.25 * own.counts + 0.75 * own.counts[order])
        torch.testing.assert_close(mixed.depth, mixed.counts.sum(dim=1))
        torch.testing.assert_close(mixed.cells, torch.log1p(1e4 * mixed.counts / mixed.depth[:, None]))
        expected = 0.25 * of.told[own.codes] + 0.75 * of.told[own.codes[order]]
        torch.testing.assert_close(looked_up(of.told, own.codes, blend), expected)
        normal, _ = Blend.of(batch(scene()), 1.0)
        torch.testing.assert_close(normal.cells, batch(scene()).cells)

    def test_mixing_empty_cells_gives_an_empty_cell(self):
        from dataclasses import replace

        from pbench.models.neural.cpa_network import Blend

        own = batch(scene("counts"))
        empty = replace(own, counts=torch.zeros_like(own.counts), depth=torch.zeros_like(own.depth))
        mixed, _ = Blend.of(empty, 0.25)
        assert not mixed.cells.any()

    def test_variational_loss_adds_the_divergence_from_the_prior(self):
        of = scene()
        net, own = network(of, variational=True).eval(), batch(of)
        with torch.no_grad():
            mean, log_variance = net.basal(own.cells)
            torch.manual_seed(5)
            loss = net.loss(own)
            torch.manual_seed(5)
            drawn = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            decoded = net.decode(drawn + of.told[own.codes] @ net.targets, None)
            prior = torch.distributions.Normal(0.0, 1.0)
            posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
            divergence = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
            torch.testing.assert_close(loss, (divergence - net.likelihood(decoded, own)).mean())


def alternation(of, *, steps=1, pretraining=0, strength=1.0, penalty=1.0, covariates=(), names=(), net=None):
    from pbench.models.neural.cpa_adversary import Adversary
    from pbench.models.neural.cpa_training import Alternation, Schedule
    from pbench.models.neural.fitting import Settings

    net = net or network(of)
    torch.manual_seed(1)
    adversary = Adversary(of.n_targets, covariates, 4, width=8, hidden=1, dropout=0.0, norm="none")
    schedule = Schedule(pretraining, 1, strength, steps, penalty, 1e-2, 0.0, 0.0)
    step = Alternation(net, adversary, Settings(5, 1e-2), schedule, names, np.random.default_rng(0))
    step.at_epoch(0)
    return step


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(before, module):
    return all(torch.equal(v, module.state_dict()[k]) for k, v in before.items())


class TestAdversary:
    def test_of_three_batches_one_trains_the_autoencoder_and_two_the_adversary(self):
        of = scene()
        step = alternation(of, steps=3)
        for own in (True, False, False, True, False):
            net, adversary = weights(step.network), weights(step.adversary)
            value = step(batch(of))
            assert np.isfinite(value)
            assert same(net, step.network) != own
            assert same(adversary, step.adversary) == own

    @pytest.mark.parametrize("schedule", [{"steps": 1}, {"steps": 3, "pretraining": 1}])
    def test_both_are_trained_together_in_pretraining_and_with_one_step(self, schedule):
        of = scene()
        step = alternation(of, **schedule)
        for _ in range(3):
            net, adversary = weights(step.network), weights(step.adversary)
            step(batch(of))
            assert not same(net, step.network)
            assert not same(adversary, step.adversary)

    def test_each_side_has_its_own_gradient(self):
        """The encoder goes up the classifiers' loss, the embeddings and the decoder do not feel it."""
        of = scene()
        own = batch(of)
        grads = []
        for strength in (0.0, 2.0):
            step = alternation(of, strength=strength)
            step.settings = replace(step.settings, clip=0.0)
            labels = [table[own.codes] for table in step.labels]
            basal, _ = step.network.sample(own.cells)
            loss = step.adversary.loss(step.adversary(basal), labels)
            of_encoder = torch.autograd.grad(loss, list(step.network.encoder.parameters()))
            step.train_network(own, None, labels)
            assert all(p.grad is None for p in step.adversary.parameters())
            grads.append((of_encoder, step.network))
        for plain, fought, own_slope in zip(
            grads[0][1].encoder.parameters(), grads[1][1].encoder.parameters(), grads[1][0], strict=True
        ):
            torch.testing.assert_close(fought.grad, plain.grad - 2 * own_slope, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(grads[0][1].targets.grad, grads[1][1].targets.grad)

    def test_the_loss_is_a_sum_of_cross_entropies(self):
        of = scene(covariates=torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [0, 0]]))
        step = alternation(of, covariates=(2,), names=("context",))
        own = batch(of)
        labels = [table[own.codes] for table in step.labels]
        logits = step.adversary(torch.randn(len(own), 4))
        p, q = (f(out.detach().double()).numpy() for f, out in ((torch.sigmoid, logits[0]), (lambda v: v.softmax(1), logits[1])))
        y, c = (label.double().numpy() for label in labels)
        expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1) - (c * np.log(q)).sum(axis=1)
        np.testing.assert_allclose(step.adversary.loss(logits, labels).detach(), expected.mean(), rtol=1e-5)

    def test_the_penalty_is_that_of_finite_differences(self):
        from pbench.models.neural.cpa_adversary import Adversary

        torch.manual_seed(0)
        adversary = Adversary(3, (2,), 4, width=8, hidden=2, dropout=0.0, norm="layer").double()
        basal = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
        found = adversary.penalty(adversary(basal), basal)
        expected, h = 0.0, 1e-6
        with torch.no_grad():
            for k in range(2):
                slope = np.empty((6, 4))
                for i in range(6):
                    for j in range(4):
                        e = torch.zeros(6, 4, dtype=torch.float64)
                        e[i, j] = h
                        slope[i, j] = float(adversary(basal + e)[k].sum() - adversary(basal - e)[k].sum()) / (2 * h)
                expected += (slope**2).mean()
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-6)
        # The adversaries learn from it: its gradient by a weight is that of finite differences too.
        weight = adversary.classifiers[0][0].weight
        (slope,) = torch.autograd.grad(found, weight)
        moved = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[2, 1] += sign * 1e-5
            moved.append(float(adversary.penalty(adversary(basal), basal).detach()))
            with torch.no_grad():
                weight[2, 1] -= sign * 1e-5
        np.testing.assert_allclose(slope[2, 1], (moved[0] - moved[1]) / 2e-5, rtol=1e-4)

    def test_balanced_accuracy_by_hand_and_chance_for_a_blind_rule(self):
        from pbench.models.neural.cpa_adversary import Tally

        tally = Tally((2, 3))
        present = torch.tensor([[1.0, 0], [1, 0], [0, 0], [0, 0]])
        logits = torch.tensor([[3.0, 0], [-3, 0], [-3, 0], [-3, 0]])
        contexts = torch.eye(3)[[0, 0, 1, 2]]
        tally.add([logits, torch.tensor([[9.0, 0, 0], [9, 0, 0], [9, 0, 0], [0, 0, 9]])], [present, contexts])
        # The second target is in no cell. The first: half of the cells with it, all of those without it.
        assert tally.accuracies() == [(0.75, 0.5), (pytest.approx(2 / 3), pytest.approx(1 / 3))]
        blind, rng = Tally((2, 3)), np.random.default_rng(0)
        for _ in range(200):
            own = torch.eye(3)[rng.integers(0, 3, 500)]
            told = torch.from_numpy((rng.random((500, 2)) < [0.05, 0.3]).astype(np.float32))
            blind.add([torch.from_numpy(rng.normal(size=(500, 2))), torch.from_numpy(rng.normal(size=(500, 3)))], [told, own])
        assert [a for a, _ in blind.accuracies()] == pytest.approx([0.5, 1 / 3], abs=0.01)

    def test_the_adversary_falls_to_chance_and_a_double_comes_to_add_up(self, counts):
        """Where the basal state holds the perturbation, nothing is left for its embedding to say."""
        double = Condition(("A", "B"))
        singles = counts.perturbed.select(lambda c: len(c.targets) == 1)
        kept = np.flatnonzero(counts.cells.codes < 4)
        cells = Cells(counts.cells.X[kept], counts.cells.codes[kept], counts.cells.conditions[:4], "counts")
        data = replace(counts, perturbed=singles, load_cells=lambda role: cells)
        kind = {"epochs": 60, "patience": 0, "width": 32, "latent": 4, "dropout": 0.0, "batch_size": 64, "pretraining": 12}
        fought = Cpa(**kind, warm_up=5, adversary_weight=100.0, adversary_learning_rate=3e-3).fit(data, seed=0)
        alone = CpaNoAdversary(**kind).fit(data, seed=0)
        accuracy = np.array(fought.history_.logged["adversary_accuracy"])
        assert len(accuracy) == len(fought.history_.logged["chance"]) == 60
        assert set(fought.history_.logged["chance"]) == {0.5}
        assert accuracy[9:12].mean() > 0.65
        assert accuracy[-10:].mean() == pytest.approx(0.5, abs=0.08)
        assert alone.history_.logged == {}

        def told_apart(model):
            """Share of the cells of A and C that a linear rule tells apart from basal states."""
            basal, rows = model.encode(cells)["invariant"], np.isin(cells.codes, (1, 3))
            Z, y = np.column_stack([basal[rows], np.ones(rows.sum())]), np.where(cells.codes[rows] == 1, 1.0, -1.0)
            return np.mean((Z @ np.linalg.lstsq(Z, y, rcond=None)[0] > 0) == (y > 0))

        assert told_apart(alone) > 0.95
        assert told_apart(fought) < told_apart(alone) - 0.05
        true, control = counts.perturbed.mean[counts.perturbed.row(double)], data.controls.mean[0]
        answers = [model.predict([double], data.controls).mean[0] for model in (fought, alone)]
        own, lone = (np.linalg.norm(mean - true) / np.linalg.norm(true - control) for mean in answers)
        assert own < 0.85
        assert own < lone - 0.03
        assert np.corrcoef(answers[0] - control, true - control)[0, 1] > 0.8


class TestModel:
    @pytest.mark.parametrize("cls", [Cpa, CpaNoAdversary])
    def test_conformance(self, cls, monkeypatch):
        monkeypatch.setattr(cls.__init__, "__kwdefaults__", {**cls.__init__.__kwdefaults__, **QUICK})
        assert [v for v in check_model(cls) if not v.passed] == []

    @pytest.mark.parametrize("preset", ["quick", "paper"])
    def test_presets_train(self, preset, counts):
        model = build(Cpa, {"epochs": 2}, name="cpa", preset=preset).fit(counts, seed=0)
        assert len(model.history_.loss) == 2

    def test_predictions_are_means_over_control_cells(self, counts):
        model = Cpa(**QUICK).fit(counts, seed=0)
        double = Condition(("B", "C"))
        prediction = model.predict([double], counts.controls)
        start = model.starts_[None]
        with torch.no_grad():
            basal, _ = model.network_.basal(torch.from_numpy(start.cells))
            moved = basal + model.network_.targets[1] + model.network_.targets[2]
            mean = model.network_.decode(moved, torch.from_numpy(start.depth)).mean.double().numpy()
        theta = np.exp(model.network_.head.spread.detach().double().numpy())
        x = np.arange(400)[:, None, None]
        p = nbinom.pmf(x, theta, theta / (theta + mean))
        expected = (p * np.log1p(x * 1e4 / start.depth[:, None])).sum(axis=0).mean(axis=0)
        np.testing.assert_allclose(prediction.mean[0], expected, rtol=1e-3)
        cells = prediction.cells[double]
        np.testing.assert_array_equal(cells, prediction.cells[double])
        assert cells.shape == (len(start.cells), 25)
        np.testing.assert_allclose(np.expm1(cells).sum(axis=1), 1e4, rtol=1e-3)

    def test_encode_names_what_moves_and_what_does_not(self, counts):
        model = Cpa(**QUICK).fit(counts, seed=0)
        codes = model.encode(counts.cells)
        assert set(codes) == {"invariant", "responsive"}
        moved = codes["responsive"] - codes["invariant"]
        embedding = model.network_.targets.detach().numpy()
        expected = np.array([np.zeros(6), *embedding, embedding[0] + embedding[1]])
        np.testing.assert_allclose(moved, expected[counts.cells.codes], atol=1e-5)

    def test_a_perturbation_goes_into_a_context_of_controls_alone(self, two_contexts):
        model = Cpa(**QUICK).fit(two_contexts, seed=0)
        train = two_contexts.perturbed.conditions
        asked = [Condition(("G00",), context="c"), Condition(("G01",), context="b"), Condition(("G01", "G02"), context="a")]
        assert [model.capabilities.refusal(c, train) for c in asked] == [None] * 3
        strange = Condition(("G00",), context="z")
        prediction = model.predict([*asked, strange], two_contexts.controls)
        assert prediction.conditions == tuple(asked)
        assert prediction.absent == {strange: "capability: unseen target, context or time"}
        own = prediction.mean - two_contexts.controls.control_mean(asked)
        assert np.isfinite(own).all()
        for name in ("adversary_accuracy", "chance", "adversary_context_accuracy", "context_chance"):
            assert len(model.history_.logged[name]) == QUICK["epochs"]
        assert set(model.history_.logged["context_chance"]) == {1 / 3}

    def test_doses_lie_between_those_that_were_seen(self, make_data):
        conditions = [Condition((t,), doses=(d,)) for t in ("G00", "G01", "G02") for d in (1.0, 10.0)]
        data = make_data(conditions)
        model = Cpa(**QUICK).fit(data, seed=0)
        assert model.network_.doser.kind == "log-sigmoid"
        assert Cpa(**QUICK, doser="sigmoid").fit(data, seed=0).network_.doser.kind == "sigmoid"
        asked = [Condition(("G00",), doses=(d,)) for d in (0.0, 1.0, 3.0, 10.0)]
        assert model.capabilities.refusal(asked[2], conditions) is None
        told, covariates = model._tensors(asked)
        zero, low, middle, high = model.network_.effects(told, covariates).norm(dim=1).tolist()
        assert zero == 0
        assert low < middle < high
        prediction = model.predict([asked[0], Condition()], data.controls)
        np.testing.assert_array_equal(prediction.mean[0], prediction.mean[1])

    def test_one_perturbation_is_enough(self, make_data):
        data = make_data([Condition(("G00",))])
        model = Cpa(**QUICK).fit(data, seed=0)
        assert np.isfinite(model.predict([Condition(("G00",))], data.controls).mean).all()

    def test_seeds(self, counts):
        mixed = {**QUICK, "mixup": 0.2, "adversary_steps": 2}
        asked = [Condition(("A", "C"))]
        first, again, other = (Cpa(**mixed).fit(counts, seed=s).predict(asked, counts.controls) for s in (0, 0, 1))
        np.testing.assert_array_equal(first.mean, again.mean)
        np.testing.assert_array_equal(first.variance, again.variance)
        assert not np.array_equal(first.mean, other.mean)

    def test_what_cannot_be_trained_says_so(self, screen, counts):
        with pytest.raises(UsageError, match="likelihood=counts needs a screen of counts"):
            Cpa(**QUICK, likelihood="counts").fit(screen, seed=0)
        with pytest.raises(TrainingFailed, match="the loss became"):
            Cpa(**{**QUICK, "learning_rate": 1e30}).fit(counts, seed=0)
