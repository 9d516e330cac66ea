"""Bilinear ridge with an embedding of the targets that comes from elsewhere: text, a network, another screen."""

from __future__ import annotations

from ..bench.contracts.model import Capabilities
from ..bench.contracts.resource import FeatureTable
from ..bench.contracts.training import TrainingData
from .bilinear_ridge import BilinearRidge
from .target_embedding import TargetEmbedding, no_vector, resource


class BilinearRidgeExternal(BilinearRidge):
    """Predicts the change by a linear map from an external embedding of the targets.

    As `BilinearRidge` with P from the resource ``embedding``: the leading principal components of the vectors of the
    training targets, centred and scaled to unit root mean square length (the reference implementation takes vectors
    as they are, so that its ridge penalty depends on their unit). A target need not be a measured gene.

    Parameters
    ----------
    n_components
        Columns of the gene loadings, and upper bound on the dimensions of the embedding.
    ridge, singles_only
        As in `BilinearRidge`.
    """

    capabilities = Capabilities(
        unseen_targets=True, unseen_contexts=True, resources=("embedding",), prior_knowledge=("external embedding of targets",)
    )

    def __init__(self, *, n_components: int = 10, ridge: float = 0.1, singles_only: bool = False) -> None:
        super().__init__(n_components=n_components, ridge=ridge, singles_only=singles_only)

    def _embed(self, data: TrainingData, loadings: FeatureTable) -> TargetEmbedding:
        table = resource(data, "embedding")
        return TargetEmbedding.reduced(table, data.perturbed.conditions, self.n_components, no_vector("embedding"))
