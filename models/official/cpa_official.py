"""CPA as its authors publish it, in the package cpa-tools."""

from __future__ import annotations

from pathlib import Path

from ...bench.contracts.model import Capabilities
from ...bench.contracts.training import TrainingData
from . import cpa_script
from .adapter import OfficialModel


class CpaOfficial(OfficialModel):
    """cpa-tools: negative binomial on counts, Gaussian on log-normalised values.

    Doses are its dosages and contexts its covariate. The split's validation conditions with known targets stop training, or else
    a tenth of the training cells. A prediction is the mean over control cells of the context of what they are decoded to, each
    normalised to 10,000 counts first; these decoded cells, which have no noise, are the predicted cells.

    Parameters
    ----------
    python
        Interpreter with cpa-tools; ``""`` takes ``PBENCH_CPA_PYTHON``.
    epochs, batch_size, learning_rate, weight_decay
        Of training; weights of the best epoch are kept.
    patience, check_every
        Checks without a better value after which it stops, and epochs between two checks.
    latent, width, encoder_layers, decoder_layers, dropout
        Of the auto-encoder; dropout is that of the encoder.
    adversary_weight, adversary_penalty, adversary_steps
        Weight of the adversary's loss, of the penalty of its gradients, and its steps for one of the auto-encoder.
    adversary_layers, adversary_width, adversary_dropout, adversary_rate, adversary_decay
        Its network, learning rate and weight decay.
    rate_step
        Epochs after which the learning rates fall by a tenth, again and again.
    warm_up, alone
        Epochs over which the adversary comes in, and epochs without it before.
    mixup, mixup_warm_up
        Parameter of mixing cells, 0 mixes none, and the epochs over which it comes in. With epochs `alone` before, cpa-tools 0.8.8 holds
        the parameter at zero for ever when it has such a warm-up, so that what its tutorial sets mixes nothing.
    device
        ``cpu`` or ``cuda``.
    """

    name = "cpa-official"
    variable = "PBENCH_CPA_PYTHON"
    script = Path(cpa_script.__file__)
    records = ("cpa-tools", "torch", "scvi-tools", "pytorch-lightning", "numpy", "anndata")
    log1p = False
    capabilities = Capabilities(unseen_doses=True, needs_cells=True, stochastic=True)
    reference = "Lotfollahi et al., Molecular Systems Biology 2023, CPA; package cpa-tools"
    presets = {
        "quick": {"epochs": 10, "warm_up": 3, "alone": 2},
        # Tutorial "Norman" of theislab/CPA: model_params, trainer_params and the call of train.
        "paper": {
            "epochs": 2000,
            "batch_size": 2048,
            "learning_rate": 1e-4,
            "weight_decay": 3.2170178270865573e-06,
            "patience": 5,
            "check_every": 5,
            "latent": 32,
            "width": 256,
            "encoder_layers": 4,
            "decoder_layers": 2,
            "dropout": 0.2,
            "adversary_weight": 10.0,
            "adversary_penalty": 20.0,
            "adversary_steps": 3,
            "adversary_layers": 2,
            "adversary_width": 128,
            "adversary_dropout": 0.3,
            "adversary_rate": 1e-4,
            "adversary_decay": 7.051355554517135e-06,
            "rate_step": 25,
            "warm_up": 50,
            "alone": 10,
            "mixup": 0.1,
            "mixup_warm_up": 10,
        },
    }

    def __init__(
        self,
        *,
        python: str = "",
        epochs: int = 200,
        batch_size: int = 512,
        learning_rate: float = 5e-4,
        weight_decay: float = 1e-6,
        patience: int = 10,
        check_every: int = 5,
        latent: int = 64,
        width: int = 256,
        encoder_layers: int = 3,
        decoder_layers: int = 2,
        dropout: float = 0.1,
        adversary_weight: float = 1.0,
        adversary_penalty: float = 1.0,
        adversary_steps: int = 3,
        adversary_layers: int = 3,
        adversary_width: int = 64,
        adversary_dropout: float = 0.1,
        adversary_rate: float = 3e-4,
        adversary_decay: float = 4e-7,
        rate_step: int = 45,
        warm_up: int = 20,
        alone: int = 10,
        mixup: float = 0.1,
        mixup_warm_up: int = 0,
        device: str = "cpu",
    ) -> None:
        self.python, self.epochs, self.batch_size = python, epochs, batch_size
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.patience, self.check_every = patience, check_every
        self.latent, self.width = latent, width
        self.encoder_layers, self.decoder_layers, self.dropout = encoder_layers, decoder_layers, dropout
        self.adversary_weight, self.adversary_penalty = adversary_weight, adversary_penalty
        self.adversary_steps, self.adversary_layers, self.adversary_width = adversary_steps, adversary_layers, adversary_width
        self.adversary_dropout, self.adversary_rate, self.adversary_decay = adversary_dropout, adversary_rate, adversary_decay
        self.rate_step, self.warm_up, self.alone = rate_step, warm_up, alone
        self.mixup, self.mixup_warm_up = mixup, mixup_warm_up
        self.device = device

    def _unfit(self, data: TrainingData) -> str | None:
        times = {c.time for c in data.perturbed.conditions}
        return "cpa-tools knows no times, and this screen has several" if len(times) > 1 else None
