"""The data set of a bundle as it lies here: whether it is the same, and its splits prepared and audited again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts import registry
from ..contracts.errors import DataError, PbenchError, UsageError
from ..contracts.split import SplitManifest
from .assemble import Assembly
from .execute import execute
from .plan import Request
from .prepare import PreparedScreen
from .run import slow_imports
from .shifts import Changes
from .stage import DatasetRequest, Staged, StageRequest, stage
from .store import OK
from .worker import load_plugins


@dataclass(frozen=True)
class Restaged:
    """Prepared data with the splits of some manifests, and the manifests that their generator gives here.

    `remade` is None where the split is not registered here, or no longer takes those parameters.
    """

    staged: Staged
    remade: tuple[SplitManifest, ...] | None


def restage(
    dataset: DatasetRequest,
    data_id: str,
    manifests: Sequence[Path],
    *,
    cell_truth: bool = False,
    remake: bool = False,
    plugins: Sequence[str] = (),
) -> Restaged:
    """Prepare a data set and splits of it, each in a process of its own.

    Parameters
    ----------
    data_id
        The identity that the data must have.
    cell_truth
        Also work out what metrics of cells read.
    remake
        Also make the splits again.

    Raises
    ------
    DataError
        If the data are not here, are others, or cannot be split like that.
    """
    here = dataset.dataset().data_id()
    if here != data_id:
        raise OtherData(f"the data of '{dataset.name}' here are {here[:12]}, and the records are of {data_id[:12]}")
    requests = [StageRequest(dataset, data_id, list(manifests), False, plugins, cell_truth)]
    registered = _registered(SplitManifest.load(manifests[0])) if remake else None
    if registered is not None:
        requests.append(StageRequest(dataset, data_id, [registered], False, plugins))
    made: dict[int, Any] = {}
    for outcome in execute(stage, requests, workers=1, preload=slow_imports(())):
        if outcome.status == OK:
            made[outcome.key] = outcome.value
        elif outcome.key == 0:
            raise (DataError if outcome.exit_code == DataError.exit_code else PbenchError)(
                f"data set '{dataset.name}' could not be prepared for these splits: {outcome.reason}"
            )
    remade = tuple(SplitManifest.load(s.manifest) for s in made[1].splits) if 1 in made else None
    return Restaged(made[0], remade)


class OtherData(DataError):
    """The data here are not those that records were made from."""


def _registered(manifest: SplitManifest) -> Request | None:
    return Request(manifest.split, dict(manifest.params)) if manifest.split in registry.splits else None


def changes_here(
    dataset: DatasetRequest, data_id: str, manifests: Sequence[Path], plugins: Sequence[str] = ()
) -> dict[str, Changes]:
    """True changes by split id.

    Raises
    ------
    DataError
        As for `restage`.
    """
    return changes_of(restage(dataset, data_id, manifests, plugins=plugins).staged)


def changes_of(staged: Staged) -> dict[str, Changes]:
    screen = PreparedScreen(staged.screen)
    found = {}
    for split in staged.splits:
        manifest = SplitManifest.load(split.manifest)
        found[manifest.id] = Changes.of(Assembly(screen, manifest, split.cell_sums).truth(cells=False))
    return found


def model_facts(asked: tuple[Sequence[str], Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Of each model that is installed what its class declares; to be called in a process of its own.

    Parameters
    ----------
    asked
        Names, and plugin files to load first.
    """
    from ..contracts.model import Capabilities, ReferenceRow

    names, plugins = asked
    load_plugins(plugins)
    found = {}
    for name in names:
        try:
            made = registry.models.get(name)
        except UsageError:
            continue
        capabilities = getattr(made, "capabilities", Capabilities())
        found[name] = {
            "reference_row": isinstance(made, type) and issubclass(made, ReferenceRow),
            "stochastic": capabilities.stochastic,
            "prior_knowledge": list(capabilities.prior_knowledge),
            "pretraining_overlap": capabilities.pretraining_overlap,
            "against_half": getattr(made, "scored_against", "all") == "half",
            "calibrates": bool(getattr(made, "calibrates", False)),
        }
    return found
