"""Training: what is kept, when it stops, and what is said when it cannot go on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pbench.bench.contracts.errors import TrainingFailed, UsageError
from pbench.models.neural.fitting import Descent, Settings, device_of, seeded, train

BATCHES = [[0, 1], [2, 3], [4]]


class Counting(torch.nn.Module):
    """A weight that each step raises by one."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))


def stepping(network, losses=None):
    losses = iter(losses or [])

    def step(batch):
        with torch.no_grad():
            network.weight += 1
        return next(losses, 1.0)

    return step


def test_the_last_weights_stay_where_nothing_is_watched():
    network = Counting()
    history = train(network, lambda rng: BATCHES, stepping(network), Settings(4, 1.0), seed=0)
    assert network.weight.item() == 12
    assert history.best == 3
    assert history.cells_per_second > 0
    assert history.summary()["epochs"] == 4


def test_the_best_weights_are_kept_and_patience_ends_training():
    network = Counting()
    scores = iter([3.0, 2.0, 2.5, float("nan"), 2.4, 0.0])
    history = train(
        network, lambda rng: BATCHES, stepping(network), Settings(50, 1.0, patience=3), seed=0, score=lambda: next(scores)
    )
    assert history.best == 1
    assert len(history.score) == 5
    assert network.weight.item() == 6


def test_the_mean_loss_of_an_epoch_counts_cells():
    network = Counting()
    history = train(network, lambda rng: BATCHES, stepping(network, [1.0, 2.0, 6.0]), Settings(1, 1.0), seed=0)
    assert history.loss == [pytest.approx((2 * 1 + 2 * 2 + 6) / 5)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_with_the_last_good_epoch(bad):
    network = Counting()
    losses = [1.0] * 7 + [bad]
    with pytest.raises(
        TrainingFailed, match=rf"the loss became {bad} in epoch 3 of 5; lower learning_rate .* Weights of epoch 2"
    ) as caught:
        train(network, lambda rng: BATCHES, stepping(network, losses), Settings(5, 1.0), seed=0)
    assert caught.value.checkpoint == {"weight": np.float32(6)}
    assert network.weight.item() == 6


def test_nothing_is_kept_of_a_first_epoch_that_fails():
    network = Counting()
    with pytest.raises(TrainingFailed, match="No epoch was finished") as caught:
        train(network, lambda rng: BATCHES, stepping(network, [float("nan")]), Settings(5, 1.0), seed=0)
    assert caught.value.checkpoint == {}


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_runs_out_is_told_in_a_sentence(error):
    network = Counting()
    calls = iter(range(100))

    def step(batch):
        if next(calls) == 4:
            raise error
        return stepping(network)(batch)

    with pytest.raises(TrainingFailed, match="memory ran out in epoch 2 with 2 cells a batch; lower batch_size") as caught:
        train(network, lambda rng: BATCHES, step, Settings(5, 1.0), seed=0)
    assert caught.value.checkpoint == {"weight": np.float32(3)}


def test_other_errors_pass():
    def step(batch):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        train(Counting(), lambda rng: BATCHES, step, Settings(5, 1.0), seed=0)


def test_descent_is_adamw():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=s).astype(np.float32)) for s in ((20, 3), (20, 2)))
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    descent = Descent(ours, lambda batch: ((ours(x) - y) ** 2).mean(), Settings(1, 0.01, 0.1, clip=0))
    for _ in range(20):
        descent(None)
        reference.zero_grad()
        ((theirs(x) - y) ** 2).mean().backward()
        reference.step()
    np.testing.assert_allclose(ours.weight.detach(), theirs.weight.detach(), rtol=1e-5)


def test_gradients_are_clipped_and_the_cosine_ends_near_zero():
    network = torch.nn.Linear(2, 1, bias=False)
    descent = Descent(network, lambda batch: 1e6 * network.weight.sum(), Settings(10, 0.5, clip=1.0, decay="cosine"))
    descent(None)
    assert float(network.weight.grad.norm()) == pytest.approx(1, rel=1e-4)
    rates = []
    for epoch in range(10):
        descent.at_epoch(epoch)
        rates.append(descent.optimiser.param_groups[0]["lr"])
    assert rates[0] == 0.5
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.02


def test_a_seed_leaves_other_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, torch.device("cpu")):
        inside = torch.rand(3)
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    with seeded(1, torch.device("cpu")):
        assert torch.equal(torch.rand(3), inside)


def test_devices():
    assert device_of("cpu").type == "cpu"
    with pytest.raises(UsageError, match="use auto, cpu or cuda"):
        device_of("gpu")
    if not torch.cuda.is_available():
        assert device_of("auto").type == "cpu"
        with pytest.raises(UsageError, match="sees no CUDA device"):
            device_of("cuda")


@pytest.mark.parametrize("epochs", [0, -2])
def test_no_epoch_is_no_training(epochs):
    with pytest.raises(UsageError, match=f"epochs={epochs} would leave the network untrained"):
        Settings(epochs, 1.0)


def test_a_score_that_is_never_a_number_is_no_success():
    network = Counting()
    with pytest.raises(TrainingFailed, match=r"score .* was no number in any epoch.* No epoch was finished"):
        train(network, lambda rng: BATCHES, stepping(network), Settings(3, 1.0), seed=0, score=lambda: float("inf"))


def test_whether_torch_only_warns_is_as_before():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with seeded(0, torch.device("cpu")):
            pass
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
