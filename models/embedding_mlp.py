"""A perceptron from gene embeddings of the targets to the change: the plainest deep model for targets never perturbed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .neural.held_out import held_out, mean_error
from .shift import Shift, predict_shifts
from .target_embedding import TargetEmbedding, on_loadings, on_ontology

Array = np.ndarray[Any, Any]


class EmbeddingMlp(Model, ABC):
    """Base: encodes the embedding of each target, adds the codes up, and decodes the sum to a change of expression.

    Δ̂(S) = Dec(Σ_{t∈S} Enc(e_t)) − Dec(0), squared error to the changes of the training conditions, each counting once. Embeddings are
    reduced and scaled as in `TargetEmbedding.reduced`. Several networks with other starts are averaged. Training conditions with
    a target without an embedding are left out, queries with one are absent; with fewer than two conditions the train mean
    answers, flagged as a fallback. Contexts, doses and times are not told apart.

    Parameters
    ----------
    n_components
        Upper bound on the dimensions of the embedding.
    width, latent, hidden, dropout
        Units and number of hidden layers, size of the summed code, share of units dropped.
    members
        Networks whose answers are averaged.
    epochs, learning_rate, weight_decay, patience
        Of training, as in `Settings`; one step an epoch, on all conditions.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    reference = "Miller et al. 2025 (fMLP, Shift Bioscience): a perceptron on gene embeddings, codes summed for combinations"
    presets = {
        "quick": {"width": 128, "latent": 32, "epochs": 200, "members": 1},
        # Width, code and learning rate of the fMLP repository; it counts epochs over minibatches, here one step is one epoch.
        "paper": {"width": 512, "hidden": 2, "latent": 128, "learning_rate": 1e-3, "epochs": 1000, "members": 1},
    }

    def __init__(
        self,
        *,
        n_components: int = 50,
        width: int = 256,
        latent: int = 64,
        hidden: int = 1,
        dropout: float = 0.1,
        members: int = 3,
        epochs: int = 400,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        patience: int = 50,
        device: str = "auto",
    ) -> None:
        self.n_components, self.members = n_components, members
        self.width, self.latent, self.hidden, self.dropout = width, latent, hidden, dropout
        self.epochs, self.learning_rate, self.weight_decay, self.patience = epochs, learning_rate, weight_decay, patience
        self.device = device

    @abstractmethod
    def _embed(self, data: TrainingData) -> TargetEmbedding:
        """The features of targets."""

    def fit(self, data: TrainingData, *, seed: int) -> EmbeddingMlp:
        """Train on profiles, watching perturbations that are left out of training.

        Raises
        ------
        TrainingFailed
            If the loss becomes NaN or infinite.
        """
        self.mean_shift_ = data.mean_shift
        self.embedding_ = self._embed(data)
        self.histories_: list[Any] = []
        self.networks_: list[Any] = []

        def predictable(condition: Condition, others: list[Condition]) -> bool:
            return self.embedding_.refusal(condition) is None

        conditions, watched = held_out(data, seed=seed, predictable=predictable)
        trained = [c for c in conditions if self.embedding_.refusal(c) is None]
        if len(trained) > 1 and self.embedding_.width:
            self._train(data, trained, watched, seed)
        return self

    def _train(self, data: TrainingData, trained: Sequence[Condition], watched: Profiles, seed: int) -> None:
        import torch

        from .neural.fitting import Descent, Settings, device_of, seeded, train
        from .neural.set_network import SetNetwork

        self.device_ = device_of(self.device)
        change = dict(zip(data.perturbed.conditions, data.shifts, strict=True))
        changes = torch.from_numpy(np.array([change[c] for c in trained]).astype(np.float32)).to(self.device_)
        vectors, members = self._tensors(trained)
        # A loss near 1 at the start, whatever the screen.
        unit = float(changes.square().mean().clamp_min(1e-12))
        settings = Settings(self.epochs, self.learning_rate, self.weight_decay, self.patience)
        control = data.controls.control_mean(watched.conditions)
        with seeded(seed, self.device_):
            for _ in range(self.members):
                network = SetNetwork(
                    vectors.shape[1],
                    changes.shape[1],
                    width=self.width,
                    latent=self.latent,
                    hidden=self.hidden,
                    dropout=self.dropout,
                ).to(self.device_)

                def loss_of(batch: Any, network: Any = network) -> torch.Tensor:
                    return torch.nn.functional.mse_loss(network(vectors, members), changes) / unit

                def score(network: Any = network) -> float:
                    return mean_error(control + self._changes([network], watched.conditions), watched)

                descent = Descent(network, loss_of, settings)
                self.histories_.append(
                    train(
                        network,
                        lambda rng: [trained],
                        descent,
                        settings,
                        seed=seed,
                        score=score if len(watched) else None,
                    )
                )
                self.networks_.append(network)

    def _tensors(self, conditions: Sequence[Condition]) -> tuple[Any, Any]:
        """(t, d) embeddings of all targets of some conditions, and (n, t) which of them each has."""
        import torch

        targets = sorted({t for c in conditions for t in c.targets})
        column = {t: i for i, t in enumerate(targets)}
        members = np.zeros((len(conditions), len(targets)), dtype=np.float32)
        for row, condition in zip(members, conditions, strict=True):
            row[[column[t] for t in condition.targets]] = 1
        vectors = self.embedding_([Condition((t,)) for t in targets]).astype(np.float32)
        return torch.from_numpy(vectors).to(self.device_), torch.from_numpy(members).to(self.device_)

    def _changes(self, networks: Sequence[Any], conditions: Sequence[Condition]) -> Array:
        import torch

        with torch.no_grad():
            vectors, members = self._tensors(conditions)
            return np.mean([n(vectors, members).double().cpu().numpy() for n in networks], axis=0)

    def diagnostics(self) -> dict[str, Any]:
        """Epochs and losses of the first network."""
        return self.histories_[0].summary() if self.histories_ else {}

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """The change of each condition whose targets all have an embedding."""
        self._check_fitted("mean_shift_")
        reasons = {c: self.embedding_.refusal(c) for c in conditions}
        answered = [c for c in conditions if reasons[c] is None]
        shifts = {c: Shift(self.mean_shift_, fallback=True) for c in answered}
        if self.networks_ and answered:
            shifts = {c: Shift(v) for c, v in zip(answered, self._changes(self.networks_, answered), strict=True)}
        return predict_shifts(conditions, controls, [reasons[c] or shifts[c] for c in conditions])


class MlpPca(EmbeddingMlp):
    """A perceptron from gene loadings of the targets, learned on the training profiles, to the change.

    See `EmbeddingMlp` for the formula and the parameters.
    """

    capabilities = Capabilities(
        unseen_targets=True, unseen_contexts=True, stochastic=True, packages=("torch",), imports=("torch",)
    )

    def _embed(self, data: TrainingData) -> TargetEmbedding:
        return on_loadings(data, self.n_components)


class MlpGo(EmbeddingMlp):
    """A perceptron from Gene Ontology features of the targets to the change.

    See `EmbeddingMlp` for the formula and the parameters.
    """

    capabilities = Capabilities(
        unseen_targets=True,
        unseen_contexts=True,
        stochastic=True,
        resources=("go",),
        prior_knowledge=("Gene Ontology",),
        packages=("torch",),
        imports=("torch",),
    )

    def _embed(self, data: TrainingData) -> TargetEmbedding:
        return on_ontology(data, self.n_components)
