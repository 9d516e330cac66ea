"""The discrepancy-VAE: perturbations shift single variables of a latent causal graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.errors import UsageError
from ..bench.contracts.identity import derived_seed
from ..bench.contracts.training import TrainingData
from .neural.generation import CellGenerator, Scene

if TYPE_CHECKING:
    from .neural.discrepancy_network import DiscrepancyNetwork

Array = np.ndarray[Any, Any]

#: Training cells whose distances give the bandwidth.
MEASURED = 500


class DiscrepancyVAE(CellGenerator):
    """Moves control cells through a latent graph, one soft intervention a target, until they look like perturbed cells.

    Exogenous variables z ~ q(z | x) are inferred from control cells. A network of the one-hot target gives
    softmax(temperature · logits), which latent variable is acted on, and the size of the shift; shifts of several targets add
    up. Then v = (z + shift) (I − triu(G, 1))⁻¹, x̂ = Dec(v). The loss is

        α MMD²(generated cells, perturbed cells) + |x − x̂|² of control cells + β KL(q(z | x) ‖ N(0, I)) + λ |G|₁

    with MMD² for the cells of each perturbation in a batch. In training of E epochs α is 0 for E/20, then rises linearly until
    E/2; β is 0 for E/10, then rises until the end; the temperature rises from 1 to its last value from E/20 on: with 100 epochs
    the published schedule. The divergence is summed over latent variables and averaged over cells. The squared error is averaged
    over genes and cells where `reconstruction` is ``mean``, and summed over genes where it is ``sum``, which makes it as many
    times heavier against the other three terms as there are genes. Contexts and times enter through control cells alone.

    Cells are decoded latent variables without noise, as in the paper, and so is the variance that is predicted. Written from the
    formulas; the paper computes in double precision, this in single.

    Parameters
    ----------
    latent
        Latent variables; as many as there are targets where it is None, which is what the identifiability theorem asks for.
    width
        Units in the hidden layer of encoder, decoder and target network.
    mmd_weight, kl_weight, sparsity, temperature
        α, β, λ and the temperature at the end of training.
    reconstruction
        ``mean`` or ``sum`` over genes.
    mmd_sigma
        Bandwidth of the middle kernel in squared distance, or ``median``: that between random training cells.
    kernels
        Kernels of bandwidths that double from one to the next.
    groups
        Perturbations in a batch.
    epochs, batch_size, learning_rate, weight_decay, patience
        Of training, as in `Settings`.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        In `fit`, if `reconstruction` or `mmd_sigma` is unknown.
    """

    capabilities = replace(CellGenerator.capabilities, claim="permutation")
    reference = (
        "Zhang et al. 2023, Identifiability guarantees for causal disentanglement from soft interventions (discrepancy-VAE)"
    )
    presets = {
        "quick": {"epochs": 20, "width": 64},
        # Zhang et al. 2023, experiments on Norman 2019: 105 latents = targets, 128 units, batches of 32 cells of one perturbation,
        # 100 epochs, learning rate 1e-3, α 10, β 2, λ 1e-3, temperature 5, ten kernels around 1,000, squared error averaged.
        "paper": {
            "latent": 105,
            "width": 128,
            "mmd_weight": 10.0,
            "kl_weight": 2.0,
            "sparsity": 1e-3,
            "temperature": 5.0,
            "reconstruction": "mean",
            "mmd_sigma": 1000.0,
            "kernels": 10,
            "groups": 1,
            "epochs": 100,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "patience": 0,
        },
    }
    likelihood = "normal"
    trains_on_controls = False
    partners = True
    groups: int

    def __init__(
        self,
        *,
        latent: int | None = None,
        width: int = 128,
        mmd_weight: float = 10.0,
        kl_weight: float = 2.0,
        sparsity: float = 1e-3,
        temperature: float = 5.0,
        reconstruction: str = "mean",
        mmd_sigma: float | str = "median",
        kernels: int = 10,
        groups: int = 4,
        epochs: int = 60,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        patience: int = 0,
        device: str = "auto",
    ) -> None:
        self.latent, self.width = latent, width
        self.mmd_weight, self.kl_weight, self.sparsity, self.temperature = mmd_weight, kl_weight, sparsity, temperature
        self.reconstruction = reconstruction
        self.mmd_sigma, self.kernels = mmd_sigma, kernels
        self.groups = groups
        self.epochs, self.batch_size, self.patience = epochs, batch_size, patience
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.device = device

    def _scene(self, data: TrainingData, conditions: Sequence[Condition]) -> Scene:
        import torch

        from .neural.cell_batches import profiles_of
        from .neural.maximum_mean_discrepancy import median_bandwidth

        if self.reconstruction not in ("mean", "sum"):
            raise UsageError(f"reconstruction={self.reconstruction!r} is unknown; use mean or sum.")
        if isinstance(self.mmd_sigma, str):
            if self.mmd_sigma != "median":
                raise UsageError(f"mmd_sigma={self.mmd_sigma!r} is unknown; use median or a number.")
            cells, used = data.cells, {*conditions, *data.controls.conditions}
            rows = np.flatnonzero(np.isin(cells.codes, [i for i, c in enumerate(cells.conditions) if c in used]))
            rng = np.random.default_rng(derived_seed("bandwidth", self.seed_))
            chosen = np.sort(rng.choice(rows, min(MEASURED, len(rows)), replace=False))
            X: Any = cells.X[chosen]
            self.bandwidth_ = median_bandwidth(torch.from_numpy(profiles_of(X, cells.scale)))
        else:
            self.bandwidth_ = float(self.mmd_sigma)
        return super()._scene(data, conditions)

    def _network(self, scene: Scene) -> DiscrepancyNetwork:
        from .neural.discrepancy_network import DiscrepancyNetwork, DiscrepancyWeights

        return DiscrepancyNetwork(
            scene,
            latent=self.latent or scene.n_targets,
            width=self.width,
            bandwidth=self.bandwidth_,
            kernels=self.kernels,
            weights=DiscrepancyWeights(self.mmd_weight, self.kl_weight, self.sparsity, self.temperature, self.reconstruction),
        )

    def graph(self) -> Array:
        """(d, d) strictly lower triangular weights of the learned graph, from the latent of the column to that of the row.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        """
        self._check_fitted("network_")
        return self.network_.graph().detach().cpu().numpy().T

    def targets(self) -> dict[str, Array]:
        """(d,) probability for each target that it acts on each latent variable; they sum up to 1.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        """
        import torch

        self._check_fitted("network_")
        with torch.no_grad():
            probability = self.network_.assigned()[0].cpu().numpy()
        return dict(zip(self.codes_.targets, probability, strict=True))
