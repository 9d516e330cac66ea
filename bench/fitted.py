"""A model that has learned from cells in memory, and its answers as an AnnData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.labels import canonical, joined
from .contracts import registry
from .contracts.condition import Condition, parse_label
from .contracts.errors import DataError, UsageError
from .contracts.identity import derived_seed
from .contracts.model import Capabilities, ReferenceRow, build
from .contracts.split import SplitManifest
from .contracts.training import Profiles
from .engine.answer import checked
from .engine.assemble import Assembly
from .engine.prepare import PreparedScreen, load_table, prepare
from .engine.resources import resolve_resources
from .engine.stage import DatasetRequest

if TYPE_CHECKING:
    from anndata import AnnData

Array = np.ndarray[Any, Any]


def predicting(name: str) -> type:
    """The class of a registered model that learns from training cells and predicts.

    Raises
    ------
    UsageError
        If there is none of that name, or it does neither.
    """
    cls = registry.models.get(name)
    capabilities = getattr(cls, "capabilities", Capabilities())
    if issubclass(cls, ReferenceRow) or not capabilities.predicts or registry.models.entry(name).group == "submission":
        raise UsageError(f"'{name}' is no model that learns from training cells and predicts. Type: pbench list models")
    return cls


@dataclass(frozen=True)
class Fitted:
    """A fitted model with what its answers need.

    Parameters
    ----------
    genes
        (G,) names in the order of the answers.
    trained_on
        Conditions that it learned from.
    controls
        Profiles of control cells, a row for each context.
    scale
        Of the answers: ``log1p_1e4`` or ``raw``.
    scratch
        Where its cells lie, which it may still read; deleted with it.
    """

    name: str
    model: Any
    genes: Array
    trained_on: tuple[Condition, ...]
    controls: Profiles
    scale: str
    scratch: TemporaryDirectory[str] | None

    def __getstate__(self) -> dict[str, Any]:
        # The folder belongs to the one object that deletes it.
        return self.__dict__ | {"scratch": None}

    def condition(self, label: str, *, separator: str | None, control_label: str, doses: bool) -> Condition:
        """The condition that a label means among those of training.

        Raises
        ------
        UsageError
            If it is the label of controls, or leaves open which context, dose or time is meant.
        DataError
            If it is no label.
        """
        parse = joined(separator, control=control_label)
        targets = parse_label(canonical(label, parse, where="predict"))
        if not targets:
            raise UsageError(f"'{label}' is the label of controls; name perturbations.")
        known: dict[str, set[Any]] = {
            "context": {c.context for c in self.trained_on},
            "time": {c.time for c in self.trained_on},
            "doses": {c.doses for c in self.trained_on} if doses else {()},
        }
        for name, values in known.items():
            if len(values) > 1:
                raise UsageError(
                    f"'{label}' leaves open which {name} is meant, and training has {len(values)}; ask with "
                    f"pbench.Condition({targets!r}, {name}=...)."
                )
        (context,), (time,), (each,) = known["context"], known["time"], known["doses"]
        return Condition(targets, each if len(each) == len(targets) else (), time, context)

    def answers(self, asked: Sequence[Condition], *, separator: str | None) -> AnnData:
        """(len(asked), G) predicted means with ``obs``: perturbation, context, dose, time, absent (why), fallback.

        A condition that cannot be answered is a row of NaN.

        Raises
        ------
        InvalidPrediction
            If the model breaks its contract.
        """
        import pandas as pd
        from anndata import AnnData

        queries = tuple(dict.fromkeys(asked))
        absent = {c: self._refusal(c) for c in queries}
        possible = tuple(c for c in queries if not absent[c])
        row: dict[Condition, int] = {}
        mean, fallback = np.empty((0, len(self.genes))), np.zeros(0, dtype=bool)
        if possible:
            prediction = self.model.predict(possible, self.controls)
            mean, fallback = checked(prediction, possible, self.genes, self.controls)
            row = {c: i for i, c in enumerate(prediction.conditions)}
            absent |= {c: str(prediction.absent[c]) for c in possible if c not in row}
        values = np.full((len(asked), len(self.genes)), np.nan, dtype=np.float32)
        for i, condition in enumerate(asked):
            if condition in row:
                values[i] = mean[row[condition]]
        obs = pd.DataFrame(
            {
                "perturbation": [c.targets[0] if separator is None else separator.join(c.targets) for c in asked],
                "context": [c.context for c in asked],
                "dose": ["+".join(f"{d:g}" for d in c.doses) or None for c in asked],
                "time": [c.time for c in asked],
                "absent": [absent[c] for c in asked],
                "fallback": [bool(c in row and fallback[row[c]]) for c in asked],
            },
            index=[str(i) for i in range(len(asked))],
        )
        return AnnData(values, obs=obs, var=pd.DataFrame(index=self.genes), uns={"scale": self.scale, "model": self.name})

    def _refusal(self, condition: Condition) -> str:
        if self.controls.row(condition.control()) is None:
            return f"no control cells of context {condition.context}"
        capabilities: Capabilities = getattr(self.model, "capabilities", Capabilities())
        return capabilities.refusal(condition, self.trained_on) or ""


def learned(
    name: str,
    params: Mapping[str, Any],
    preset: str,
    seed: int,
    resources: Mapping[str, str],
    truth: DatasetRequest,
    scratch: TemporaryDirectory[str],
) -> Fitted:
    """Fit a model on every perturbed condition of a data set, whose cache is the folder `scratch`.

    Raises
    ------
    UsageError
        If the model, a parameter or a resource does not exist.
    DataError
        If side information is missing, or the data are not what the model needs.
    """
    cls = predicting(name)
    capabilities: Capabilities = getattr(cls, "capabilities", Capabilities())
    model = build(cls, dict(params), name=name, preset=preset)
    dataset = truth.dataset()
    screen = prepare(dataset, data_id=dataset.data_id(), cells=capabilities.needs_cells)
    tables = _side_information(capabilities, screen, resources)
    if capabilities.needs_pairs and not screen.meta["paired"]:
        raise DataError(f"model '{name}' needs units that were observed at several times, and the cells here are snapshots.")
    perturbed = tuple(c for c in screen.conditions if not c.is_control)
    everything = SplitManifest(
        dataset=truth.name,
        data_id=dataset.data_id(),
        split="all",
        params={},
        fold="1/1",
        generator_version=1,
        roles=dict.fromkeys(perturbed, "train"),
    )
    data = Assembly(screen, everything).training(tables, cells=capabilities.needs_cells)
    model = model.fit(data, seed=derived_seed(seed, registry.models.split(name)[0], "all", "1/1"))
    scale = "raw" if screen.scale == "raw" else "log1p_1e4"
    return Fitted(name, model, screen.genes, perturbed, data.controls, scale, scratch)


def _side_information(capabilities: Capabilities, screen: PreparedScreen, given: Mapping[str, str]) -> dict[str, Any]:
    found = resolve_resources(capabilities.resources, {name: str(Path(f).expanduser()) for name, f in given.items()})
    sources = {name: resolved.for_screen(screen.meta["resources"]) for name, resolved in found.items()}
    if missing := [source.missing for source in sources.values() if source.missing]:
        raise DataError(missing[0])
    return {name: screen.resource(name) if s.path is None else load_table(s.path) for name, s in sources.items()}
