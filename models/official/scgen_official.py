"""scGen as its authors publish it, in the package scgen."""

from __future__ import annotations

from pathlib import Path

from ...bench.contracts.condition import Condition
from ...bench.contracts.model import Capabilities
from ...bench.contracts.training import TrainingData
from . import scgen_script
from .adapter import OfficialModel


class ScgenOfficial(OfficialModel):
    """The package scgen: carries a perturbation seen in other contexts into one that has control cells only.

    It knows perturbations by their names, so that a combination must have been seen, in whatever context. The predicted cells
    are decoded control cells, without noise; the mean is over these. Validation conditions are not given to it, for it would
    train on them and take arrows from them: it stops by a tenth of the training cells.

    Parameters
    ----------
    python
        Interpreter with scgen; ``""`` takes ``PBENCH_SCGEN_PYTHON``.
    epochs, batch_size
        Of training, which stops early after 25 epochs without a lower loss on a tenth of the cells.
    width, hidden, latent, dropout
        Units and number of hidden layers, size of the code, share of units dropped.
    device
        ``cpu`` or ``cuda``.
    """

    name = "scgen-official"
    variable = "PBENCH_SCGEN_PYTHON"
    script = Path(scgen_script.__file__)
    records = ("scgen", "torch", "scvi-tools", "pytorch-lightning", "numpy", "anndata")
    capabilities = Capabilities(unseen_contexts=True, needs_cells=True, stochastic=True)
    reference = "Lotfollahi, Wolf & Theis, Nature Methods 2019, scGen; package scgen"
    presets = {
        "quick": {"epochs": 5, "batch_size": 128},
        # Defaults of the class SCGEN, and epochs and batch of the tutorial "scgen_perturbation_prediction".
        "paper": {"epochs": 100, "batch_size": 32, "width": 800, "hidden": 2, "latent": 100, "dropout": 0.2},
    }

    def __init__(
        self,
        *,
        python: str = "",
        epochs: int = 100,
        batch_size: int = 32,
        width: int = 800,
        hidden: int = 2,
        latent: int = 100,
        dropout: float = 0.2,
        device: str = "cpu",
    ) -> None:
        self.python, self.epochs, self.batch_size = python, epochs, batch_size
        self.width, self.hidden, self.latent, self.dropout = width, hidden, latent, dropout
        self.device = device

    def _unfit(self, data: TrainingData) -> str | None:
        conditions = data.perturbed.conditions
        if len({c.time for c in conditions}) > 1 or len({(c.targets, c.context) for c in conditions}) < len(conditions):
            return "scgen knows neither times nor doses, and this screen has several"
        return None

    def _roles(self, data: TrainingData, seed: int) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
        # The script does not look at `split`, and the package has no place for cells that it must not learn from.
        return data.perturbed.conditions, ()
