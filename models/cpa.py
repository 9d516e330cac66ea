"""CPA: a cell's basal state, and what perturbations and covariates add to it, in a latent space without room for them in the basal state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..bench.contracts.identity import derived_seed
from .neural.generation import CellGenerator

if TYPE_CHECKING:
    import numpy as np

    from ..bench.contracts.training import TrainingData
    from .neural.fitting import Settings
    from .neural.generation import Scene


class Cpa(CellGenerator):
    """Compositional perturbation autoencoder.

    z = Enc(x) + Σ_g doser_g(dose_g) e_g + Σ embeddings of covariates, decoded to negative binomial counts or normal values.
    Classifiers learn to tell the targets and the covariates from the basal state Enc(x), and the encoder learns to defeat them, so
    that the basal state holds what perturbations do not change. A prediction takes the basal states of control cells, adds a
    condition and decodes. Written from the paper's equations and the schedule of the official code.

    After `fit`, ``history_.logged`` has for each epoch ``adversary_accuracy`` and ``chance`` of the targets, and
    ``adversary_context_accuracy``, ``context_chance`` (and the same for ``time``) where a screen has several: balanced accuracies on
    minibatches before they are learned from (`Tally`). An encoder that hides all comes down to chance.

    Contexts and times are covariates; each combination with a perturbation may be new if the parts were seen. Control cells have a
    condition without targets, so that a context with control cells alone can be asked for.

    Parameters
    ----------
    width, latent, encoder_layers, decoder_layers
        Units and number of hidden layers of the encoder and the decoder, size of the latent space.
    norm, decoder_norm
        ``layer``, ``batch`` or ``none``, in the encoder and the decoder.
    dropout
        Share of the encoder's units that are dropped.
    doser
        ``linear``, ``sigmoid`` or ``log-sigmoid``: how a dose scales a target's embedding. ``auto``: linear where all doses are 1 or
        −1, else log-sigmoid.
    variational
        Whether basal states are normal distributions.
    likelihood
        ``counts``, ``normal``, or ``auto``: counts where the screen has them.
    adversary_width, adversary_layers, adversary_norm, adversary_dropout
        Of the classifiers.
    adversary_weight, gradient_penalty
        Weight of the classifiers' loss in the encoder's, and of the penalty on their slopes in their own.
    adversary_steps
        Of so many batches the first trains the autoencoder and the others the classifiers; with 1 each batch trains both.
    pretraining, warm_up
        Epochs without adversaries, and epochs after them in which their weight rises.
    mixup
        Parameter of the beta distribution of mixed cells; 0 mixes none.
    epochs, batch_size, learning_rate, weight_decay, patience
        Of training, as in `Settings`.
    adversary_learning_rate, adversary_weight_decay
        Of the classifiers.
    clip
        Largest norm of the autoencoder's gradient; 0 clips nothing.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    capabilities = replace(CellGenerator.capabilities, unseen_contexts=True, unseen_doses=True)
    reference = "Lotfollahi et al. 2023, Molecular Systems Biology 19:e11517; theislab/CPA 0.8.8 for the schedule"
    presets = {
        "quick": {"epochs": 15, "width": 128, "pretraining": 3, "warm_up": 4},
        # All values: theislab/CPA, docs/tutorials/Norman.ipynb, model_params, trainer_params and model.train.
        "paper": {
            "latent": 32,
            "likelihood": "counts",  # recon_loss nb
            "doser": "linear",
            "width": 256,
            "encoder_layers": 4,
            "decoder_layers": 2,
            "norm": "batch",
            "decoder_norm": "none",
            "dropout": 0.2,
            "variational": False,
            "pretraining": 10,
            "warm_up": 50,
            "mixup": 0.1,
            "learning_rate": 1e-4,
            "weight_decay": 3.2170178270865573e-06,
            "adversary_steps": 3,
            "adversary_weight": 10.0,
            "gradient_penalty": 20.0,
            "adversary_learning_rate": 1e-4,
            "adversary_weight_decay": 7.051355554517135e-06,
            "adversary_layers": 2,
            "adversary_width": 128,
            "adversary_norm": "batch",
            "adversary_dropout": 0.3,
            "clip": 0.0,  # do_clip_grad False
            "epochs": 2000,
            "batch_size": 2048,
            "patience": 25,  # early_stopping_patience 5, checked every 5 epochs
        },
    }
    #: Whether there are classifiers to defeat.
    adversarial = True

    def __init__(
        self,
        *,
        width: int = 256,
        latent: int = 32,
        encoder_layers: int = 2,
        decoder_layers: int = 2,
        norm: str = "layer",
        decoder_norm: str = "layer",
        dropout: float = 0.2,
        doser: str = "auto",
        variational: bool = False,
        likelihood: str = "auto",
        adversary_width: int = 64,
        adversary_layers: int = 2,
        adversary_norm: str = "layer",
        adversary_dropout: float = 0.1,
        adversary_weight: float = 1.0,
        gradient_penalty: float = 1.0,
        adversary_steps: int = 1,
        pretraining: int = 5,
        warm_up: int = 10,
        mixup: float = 0.0,
        epochs: int = 60,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-6,
        patience: int = 15,
        adversary_learning_rate: float = 1e-3,
        adversary_weight_decay: float = 1e-6,
        clip: float = 0.0,
        device: str = "auto",
    ) -> None:
        self.width, self.latent, self.encoder_layers, self.decoder_layers = width, latent, encoder_layers, decoder_layers
        self.norm, self.decoder_norm, self.dropout, self.doser = norm, decoder_norm, dropout, doser
        self.variational, self.likelihood = variational, likelihood
        self.adversary_width, self.adversary_layers = adversary_width, adversary_layers
        self.adversary_norm, self.adversary_dropout = adversary_norm, adversary_dropout
        self.adversary_weight, self.gradient_penalty, self.adversary_steps = adversary_weight, gradient_penalty, adversary_steps
        self.pretraining, self.warm_up, self.mixup = pretraining, warm_up, mixup
        self.epochs, self.batch_size, self.patience = epochs, batch_size, patience
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.adversary_learning_rate, self.adversary_weight_decay = adversary_learning_rate, adversary_weight_decay
        self.clip, self.device = clip, device

    def fit(self, data: TrainingData, *, seed: int) -> Cpa:
        """Train on cells, watching perturbations that are left out of training; see the class for what is logged."""
        super().fit(data, seed=seed)
        self._alternation.close_epoch()
        self.history_.logged.update(self._alternation.logged)
        # Optimisers are larger than the network, and nobody needs them any more.
        del self._alternation
        return self

    def _settings(self) -> Settings:
        return replace(super()._settings(), clip=self.clip)

    def _network(self, scene: Scene) -> Any:
        from .neural.cpa_network import CpaNetwork

        told = scene.told
        graded = bool(((told != 0) & (told.abs() != 1)).any())
        return CpaNetwork(
            scene,
            width=self.width,
            latent=self.latent,
            encoder_layers=self.encoder_layers,
            decoder_layers=self.decoder_layers,
            norm=self.norm,
            decoder_norm=self.decoder_norm,
            dropout=self.dropout,
            doser=("log-sigmoid" if graded else "linear") if self.doser == "auto" else self.doser,
            variational=self.variational,
        )

    def _step(self, network: Any, settings: Settings) -> tuple[Callable[[Any], float], Callable[[int], None]]:
        import numpy as np

        from .neural.cpa_adversary import Adversary
        from .neural.cpa_training import Alternation, Schedule

        covariates = {
            name: len(values)
            for name, values in (("context", self.codes_.contexts), ("time", self.codes_.times))
            if len(values) > 1
        }
        adversary = None
        if self.adversarial:
            adversary = Adversary(
                len(self.codes_.targets),
                tuple(covariates.values()),
                self.latent,
                width=self.adversary_width,
                hidden=self.adversary_layers,
                dropout=self.adversary_dropout,
                norm=self.adversary_norm,
            ).to(self.device_)
        schedule = Schedule(
            self.pretraining,
            self.warm_up,
            self.adversary_weight,
            self.adversary_steps,
            self.gradient_penalty,
            self.adversary_learning_rate,
            self.adversary_weight_decay,
            self.mixup,
        )
        rng: np.random.Generator = np.random.default_rng(derived_seed("mixup", self.seed_))
        self._alternation = Alternation(network, adversary, settings, schedule, tuple(covariates), rng)
        return self._alternation, self._alternation.at_epoch


class CpaNoAdversary(Cpa):
    """CPA without classifiers: nothing keeps the effect of a perturbation out of the basal state.

    Parameters are those of `Cpa`; those of the classifiers change nothing.
    """

    adversarial = False
