"""Gradient descent with what every network here needs: seeds, a device, early stopping, and an end to a loss that is no number."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic

from ...bench.contracts.errors import TrainingFailed, UsageError

DECAYS = ("none", "step", "cosine")


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    Parameters
    ----------
    epochs
        Passes over the training cells, at most.
    learning_rate, weight_decay
        Of Adam with decoupled decay (AdamW).
    patience
        Epochs without a better score on the watched conditions after which training stops; 0 never stops early.
    clip
        Largest norm of the gradient; 0 clips nothing.
    decay
        Of the learning rate: ``none``, ``cosine`` to zero over the epochs, or ``step``, half of it after each epoch.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    patience: int = 10
    clip: float = 5.0
    decay: str = "none"

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise UsageError(f"decay={self.decay!r} is unknown; use one of {', '.join(DECAYS)}.")
        if self.epochs < 1:
            raise UsageError(f"epochs={self.epochs} would leave the network untrained; use 1 or more.")


@dataclass
class History:
    """What happened.

    Parameters
    ----------
    loss, score
        Mean loss and score on the watched conditions of each epoch.
    best
        The epoch whose weights were kept.
    cells_per_second
        Of training alone.
    logged
        Further figures of each epoch by name.
    """

    loss: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    best: int = -1
    cells_per_second: float = 0.0
    logged: dict[str, list[float]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """JSON values: how many epochs ran and which was kept, its loss and score, the speed, and the last of each logged figure."""
        return {
            "epochs": len(self.loss),
            "best_epoch": self.best + 1,
            "loss": self.loss[self.best] if self.loss else None,
            "score": self.score[self.best] if self.score else None,
            "cells_per_second": round(self.cells_per_second, 1),
            **{name: values[-1] for name, values in self.logged.items() if values},
        }


def device_of(name: str) -> torch.device:
    """The torch device of ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        If the name is unknown, or CUDA was asked for and there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device={name!r} is unknown; use auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device='cuda' was asked for, and torch sees no CUDA device; use device=auto or device=cpu.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch that follow from a seed, inside; outside nothing has changed."""
    on_cuda = device.type == "cuda"
    if on_cuda:
        # What cuBLAS needs to add up in the same order each time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.manual_seed(seed % 2**63)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling fresh memory finds what reads it before it is written; nothing here does, and it costs a twentieth of a step.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=only_warned)
            memory.fill_uninitialized_memory = before[1]


def optimiser(
    parameters: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]], learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW in one fused pass over each weight."""
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


class Descent:
    """One step of AdamW on a loss for each batch.

    Parameters
    ----------
    network
        Its parameters are learned.
    loss_of
        Mean loss of a batch.
    """

    def __init__(self, network: torch.nn.Module, loss_of: Callable[[Any], torch.Tensor], settings: Settings) -> None:
        self.network, self.loss_of, self.settings = network, loss_of, settings
        self.optimiser = optimiser(network.parameters(), settings.learning_rate, settings.weight_decay)

    def __call__(self, batch: Any) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss_of(batch)
        loss.backward()
        if self.settings.clip:
            self._clip()
        self.optimiser.step()
        return float(loss.detach())

    def _clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)

    def at_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        if self.settings.decay == "none":
            return
        share = 0.5**epoch if self.settings.decay == "step" else 0.5 * (1 + np.cos(np.pi * epoch / self.settings.epochs))
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * share


def train(
    network: torch.nn.Module,
    batches: Callable[[np.random.Generator], Iterable[Sized]],
    step: Callable[[Any], float],
    settings: Settings,
    *,
    seed: int,
    score: Callable[[], float] | None = None,
    at_epoch: Callable[[int], None] | None = None,
) -> History:
    """Take a step for each batch; the weights with the best score are kept, the last ones where there is no score.

    Parameters
    ----------
    batches
        Gives the batches of an epoch.
    step
        Changes the weights for a batch and returns its mean loss, such as a `Descent`.
    score
        An error on conditions that are not trained on, smaller is better; asked after each epoch.
    at_epoch
        Called with the number of each epoch as it begins, for schedules.

    Raises
    ------
    TrainingFailed
        With the epoch, what to change, and the weights of the last good epoch, which the network then has.
    """
    history = History()
    kept = _weights(network)
    rng = np.random.default_rng(seed)
    cells, seconds = 0, 0.0
    for epoch in range(settings.epochs):
        network.train()
        if at_epoch:
            at_epoch(epoch)
        total, n = 0.0, 0
        start = time.perf_counter()
        for batch in batches(rng):
            try:
                value = step(batch)
            except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                what = f"memory ran out in epoch {epoch + 1} with {len(batch)} cells a batch; lower batch_size."
                raise _failed(network, kept, history, what) from error
            if not np.isfinite(value):
                what = f"the loss became {value} in epoch {epoch + 1} of {settings.epochs}; lower learning_rate (now {settings.learning_rate:g})."
                raise _failed(network, kept, history, what)
            total, n = total + value * len(batch), n + len(batch)
        seconds, cells = seconds + time.perf_counter() - start, cells + n
        history.loss.append(total / max(n, 1))
        if score is None:
            history.best = epoch
        else:
            network.eval()
            with torch.no_grad():
                history.score.append(score())
            if np.isfinite(history.score[-1]) and history.score[-1] <= np.nanmin(history.score):
                history.best = epoch
        if history.best == epoch:
            kept = _weights(network)
        elif settings.patience and epoch - history.best >= settings.patience:
            break
    if score is not None and history.best < 0:
        raise _failed(
            network, kept, history, "the score on the watched conditions was no number in any epoch; lower learning_rate."
        )
    network.load_state_dict(kept)
    network.eval()
    history.cells_per_second = cells / seconds if seconds else 0.0
    return history


def _weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "out of memory" in text or "can't allocate" in text


def _failed(network: torch.nn.Module, kept: dict[str, torch.Tensor], history: History, what: str) -> TrainingFailed:
    network.load_state_dict(kept)
    network.eval()
    last = f"Weights of epoch {history.best + 1} are kept." if history.best >= 0 else "No epoch was finished."
    return TrainingFailed(
        f"{what} {last}", {name: value.cpu().numpy() for name, value in kept.items()} if history.best >= 0 else {}
    )
