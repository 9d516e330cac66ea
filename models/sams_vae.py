"""SAMS-VAE: sparse additive shifts of a basal latent state."""

from __future__ import annotations

from typing import Any

from .neural.generation import Scene
from .neural.sparse_shifts import SparseShifts


class SamsVae(SparseShifts):
    """Adds sparse latent shifts of the targets to the basal state of a cell, and decodes the sum.

    z = z_basal + Σ_g d_g (E_g ⊙ M_g) with z_basal ~ N(0, I), E_g ~ N(0, I), M_g ~ Bernoulli(inclusion), and negative binomial
    counts with the observed total (normal values on screens without counts). Written from the formulas of the publication.

    Predictions decode the basal states of control cells plus the posterior mean of the shift; the publication draws basal states
    from their prior. A target that no training condition holds is absent. Doses scale the shift of their target linearly;
    contexts and times are inputs of the decoder.

    By default the log rates are linear in z: with hidden layers and few cells for each target, the basal state learned what
    the perturbations do, and the shifts stayed near zero. The preset ``paper`` has the hidden layer of the publication.

    Parameters
    ----------
    latent
        Size of the latent space.
    inclusion
        Prior probability that a target moves a latent.
    guide
        ``mean-field``, or ``correlated`` where the posterior of the effect depends on the mask.
    particles
        Draws of the latents for each step.
    width, hidden
        Units and number of hidden layers of the encoder.
    decoder_width, decoder_hidden
        The same of the decoder; without hidden layers it is linear in z.
    temperature, logit
        Of the relaxed masks, and log odds of inclusion at the beginning.
    warmup
        Epochs over which the weight of the divergence of masks and effects rises to 1.
    epochs, batch_size, learning_rate, weight_decay, patience, clip
        Of training, as in `Settings`.
    table_rate
        How many times faster effects and inclusion are learned than the networks: they have a row for each target, and few cells.
    likelihood
        ``auto``, ``counts`` or ``normal``.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    reference = "Bereket & Karaletsos, NeurIPS 2023, SAMS-VAE"
    presets = {
        "quick": {"width": 128, "hidden": 1, "latent": 20, "epochs": 30, "warmup": 15},
        # Norman 2019 in the publication's appendix; 30,000 steps of 512 cells are about 150 epochs of its 100,000 cells. The
        # encoder's width is that of the decoder, and initial log odds are ours: neither is known.
        "paper": {
            "latent": 200,
            "inclusion": 0.01,
            "guide": "correlated",
            "particles": 5,
            "width": 400,
            "hidden": 4,
            "decoder_width": 400,
            "decoder_hidden": 1,
            "batch_size": 512,
            "learning_rate": 3e-4,
            "epochs": 150,
            "patience": 0,
            "clip": 100.0,
            "warmup": 0,
            "table_rate": 1.0,
        },
    }

    def __init__(
        self,
        *,
        latent: int = 32,
        inclusion: float = 0.1,
        guide: str = "correlated",
        particles: int = 1,
        width: int = 256,
        hidden: int = 2,
        decoder_width: int = 256,
        decoder_hidden: int = 0,
        temperature: float = 1.0,
        logit: float = 2.0,
        warmup: int = 30,
        epochs: int = 60,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.0,
        patience: int = 20,
        clip: float = 100.0,
        table_rate: float = 10.0,
        likelihood: str = "auto",
        device: str = "auto",
    ) -> None:
        self.latent, self.inclusion, self.guide, self.particles = latent, inclusion, guide, particles
        self.width, self.hidden, self.decoder_width, self.decoder_hidden = width, hidden, decoder_width, decoder_hidden
        self.temperature, self.logit, self.warmup, self.table_rate = temperature, logit, warmup, table_rate
        self.epochs, self.batch_size, self.patience, self.clip = epochs, batch_size, patience, clip
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.likelihood, self.device = likelihood, device

    def _network(self, scene: Scene) -> Any:
        from ..bench.contracts.errors import UsageError
        from .neural.sparse_shift_networks import AdditiveShiftNetwork

        if self.guide not in ("mean-field", "correlated"):
            raise UsageError(f"guide={self.guide!r} is unknown; use mean-field or correlated.")
        return AdditiveShiftNetwork(
            scene,
            self.moments_,
            prior=self.inclusion,
            correlated=self.guide == "correlated",
            particles=self.particles,
            **self._sizes(),
        )
