"""The conformance kit for data sets: named checks of the card, of what is loaded, and of the default split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts import registry
from ..contracts.condition import CONTROL, Condition, parse_label
from ..contracts.errors import suggestion
from ..contracts.screen import SCALES, Dataset, DatasetCard, Screen, validate
from ..contracts.split import SplitManifest
from ..contracts.values import LOG1P_1E4_MAX
from .audit import audit, row_hashes
from .plan import Request
from .stage import make_splits
from .statistics import group_sums
from .toy_screen import shuffled
from .verdict import Verdict, verdicts

Array = np.ndarray[Any, Any]
#: Cells below which a mean says little: what splits ask of a scored condition, and what is asked of controls.
MIN_CELLS = 12
#: How far the mean of control cells may lie from their profile without noise, or else how well the two must correlate over genes.
STANDARD_ERRORS, AGREES = 5.0, 0.9


class Loaded:
    """A data set with what was loaded of it, once."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.card = dataset, dataset.card

    @cached_property
    def screen(self) -> Screen:
        return self.dataset.load()

    @property
    def values(self) -> Array:
        """What X stores: of a sparse matrix its entries, zeros left out."""
        X: Any = self.screen.adata.X
        return X.data if sparse.issparse(X) else np.asarray(X).ravel()

    @cached_property
    def manifests(self) -> tuple[SplitManifest, ...]:
        return make_splits(Request(self.card.default_split), self.screen, self.dataset.data_id())


def check_dataset(dataset: Dataset) -> Iterator[Verdict]:
    """Run every check on a data set; it is loaded twice. One that does not load is not checked further."""
    if not isinstance(dataset, Dataset):
        return iter([Verdict(CARD, f"this is {type(dataset).__name__}; a data set is a Dataset(card, data_id, load).")])
    return verdicts(CHECKS, Loaded(dataset), needed=(IDENTITY, LOADS))


def _card(loaded: Loaded) -> str | None:
    card = loaded.card
    if not isinstance(card, DatasetCard):
        return f"card is {type(card).__name__}; write a DatasetCard."
    for name in ("name", "title", "source", "licence", "control_label", "modality"):
        if not str(getattr(card, name) or "").strip():
            return f"the card says no {name}; a reader of a table needs it."
    if not (card.citation or card.simulated):
        return "the card says no citation; whoever made the data is to be named."
    if card.scale not in SCALES:
        return f"scale '{card.scale}' is unknown; declare one of {', '.join(SCALES)}."
    if card.default_split not in registry.splits:
        return f"there is no split '{card.default_split}'. {suggestion(card.default_split, registry.splits)}"
    return None


def _json(loaded: Loaded) -> str | None:
    again = DatasetCard.from_dict(json.loads(json.dumps(loaded.card.to_dict(), allow_nan=False)))
    if again != loaded.card:
        fields = [k for k, v in again.to_dict().items() if v != loaded.card.to_dict()[k]]
        return (
            f"'{fields[0]}' of the card changes when it is written as JSON and read back; use text, numbers and tuples of text."
        )
    return None


def _data_id(loaded: Loaded) -> str | None:
    first, second = loaded.dataset.data_id(), loaded.dataset.data_id()
    if not isinstance(first, str) or not first.strip():
        return f"data_id() returned {first!r}; return a sha256 of the file, or of what generates the data."
    if first != second:
        return "data_id() returns something else when it is called again; results would never be found again."
    return None


def _loads(loaded: Loaded) -> str | None:
    screen = loaded.screen
    if not isinstance(screen, Screen):
        return f"load() returned {type(screen).__name__}; return a pbench.Screen."
    if screen.adata.X is None:
        return "the loaded AnnData has no X."
    if screen.card.name != loaded.card.name or screen.card.scale != loaded.card.scale:
        return (
            f"the loaded screen says name '{screen.card.name}' and scale '{screen.card.scale}', "
            f"the card '{loaded.card.name}' and '{loaded.card.scale}'."
        )
    return None


def _finite(loaded: Loaded) -> str | None:
    values = loaded.values
    if values.dtype.kind not in "fiu":
        return f"X holds {values.dtype}; it must hold numbers."
    bad = int((~np.isfinite(values)).sum())
    return f"{bad} values of X are NaN or infinite." if bad else None


def _scale(loaded: Loaded) -> str | None:
    values, scale = loaded.values, loaded.card.scale
    if scale == "raw" or not values.size:
        return None if values.size else "X holds no value but zero."
    if values.min() < 0:
        return f"X is declared as {scale} and holds negative values (smallest {values.min():g})."
    if scale == "counts" and not _whole(values):
        return f"X is declared as counts and holds fractions, such as {values[values != np.rint(values)][0]:g}."
    if scale == "log1p_1e4":
        return _log1p(loaded)
    return None


def _whole(values: Array) -> bool:
    return all(np.array_equal(b, np.rint(b)) for b in (values[i : i + 2**20] for i in range(0, values.size, 2**20)))


def _log1p(loaded: Loaded) -> str | None:
    high = float(loaded.values.max())
    if high > LOG1P_1E4_MAX + 1e-3 or (high > 1 and _whole(loaded.values)):
        return (
            f"X is declared as log1p_1e4 and looks like counts (largest value {high:g}; the scale ends at {LOG1P_1E4_MAX:.2f})."
        )
    total = np.array([float(np.expm1(row.toarray() if sparse.issparse(row) else row).sum()) for row in _some_rows(loaded)])
    if (total > 1e4 * 1.01).any():
        return (
            f"X is declared as log1p_1e4 and a cell adds up to {total.max():.0f} per 10,000; was it normalised to another total?"
        )
    return None


def _some_rows(loaded: Loaded) -> Iterator[Any]:
    X: Any = loaded.screen.adata.X
    for i in np.linspace(0, X.shape[0] - 1, min(X.shape[0], 500)).astype(int):
        yield X[[i]].astype(np.float64)


def _names(loaded: Loaded) -> str | None:
    for what, index in (
        ("cells (obs_names)", loaded.screen.adata.obs_names),
        ("genes (var_names)", loaded.screen.adata.var_names),
    ):
        if not index.is_unique:
            return f"names of {what} are not unique: '{index[index.duplicated()][0]}' occurs twice."
        if blank := [str(n) for n in index if not str(n).strip() or str(n) != str(n).strip()]:
            return f"names of {what} are empty or have white space around them, such as {blank[0]!r}."
    return None


def _columns(loaded: Loaded) -> str | None:
    obs: Any = loaded.screen.adata.obs
    if "perturbation" not in obs:
        return f"obs has no column 'perturbation' (columns: {', '.join(map(str, obs)) or 'none'})."
    for label in map(str, obs["perturbation"].unique()):
        canonical = Condition(parse_label(label)).label
        if canonical != label:
            return f"label {label!r} in obs['perturbation'] is written {canonical!r} in canonical form."
    for name in ("time", "dose"):
        if name in obs and name == "time" and obs[name].dtype.kind not in "fiu":
            return f"obs['time'] is {obs[name].dtype}; give hours as numbers."
    for name in ("context", "batch"):
        if name in obs and obs[name].isna().any():
            return f"obs['{name}'] lacks a value in {int(obs[name].isna().sum())} cells; fill it in or drop the cells."
    _ = loaded.screen.conditions
    return None


def _controls(loaded: Loaded) -> str | None:
    screen = loaded.screen
    counts = {c.context: n for c, n in screen.n_cells.items() if c.is_control}
    for context in dict.fromkeys(c.context for c in screen.perturbed):
        where = "" if context is None else f" in context '{context}'"
        if (found := counts.get(context, 0)) < MIN_CELLS:
            return f"{found} cells are labelled '{CONTROL}'{where}; every change is measured against them, {MIN_CELLS} are the least."
    return None if screen.perturbed else "every cell is a control."


def _valid(loaded: Loaded) -> str | None:
    validate(loaded.screen, source=f"data set '{loaded.card.name}'")
    return None


def _counted(loaded: Loaded) -> str | None:
    if not loaded.card.simulated and loaded.card.sha256 is not None:
        # The card describes the file, of which a reader may leave out cells.
        return None
    adata, screen = loaded.screen.adata, loaded.screen
    found = {
        "n_cells": adata.n_obs,
        "n_genes": adata.n_vars,
        "n_perturbations": len({c.targets for c in screen.perturbed}),
    }
    for name, n in found.items():
        if (declared := getattr(loaded.card, name)) is not None and declared != n:
            return f"the card says {name}={declared}, and {n} were loaded."
    return None


def _again(loaded: Loaded) -> str | None:
    first: Any = loaded.screen.adata
    second: Any = loaded.dataset.load().adata
    if not (first.obs_names.equals(second.obs_names) and first.var_names.equals(second.var_names)):
        return "a second load has other cells or genes, or the same in another order; fix the seed."
    if not first.obs["perturbation"].astype(str).equals(second.obs["perturbation"].astype(str)):
        return "a second load has other labels; fix the seed."
    a, b = (row_hashes(x.X)[0] for x in (first, second))
    return None if np.array_equal(a, b) else "a second load has other values in X; fix the seed."


def _latents(loaded: Loaded) -> str | None:
    known = loaded.screen.ground_truth
    if known is None:
        return None
    labels = set(map(str, loaded.screen.adata.obs["perturbation"].unique()))
    if missing := sorted(labels - set(known.perturbations)):
        return f"the ground truth says nothing of perturbation '{missing[0]}'."
    return None


def _noise_free(loaded: Loaded) -> str | None:
    screen = loaded.screen
    if not screen.noise_free:
        return None
    if missing := [c for c in screen.conditions if c not in screen.noise_free]:
        return f"there are profiles without noise, and none of {missing[0].key!r}."
    if wrong := [c for c, p in screen.noise_free.items() if np.shape(p) != (screen.adata.n_vars,) or not np.isfinite(p).all()]:
        return f"the profile without noise of {wrong[0].key!r} has not one finite value for each gene."
    sums = group_sums(screen.adata.X, screen.codes, len(screen.conditions), scale=loaded.card.scale)
    for i, condition in enumerate(screen.conditions):
        if not condition.is_control:
            continue
        n, expected = max(int(sums.n[i]), 1), np.asarray(screen.noise_free[condition], dtype=np.float64)
        mean = sums.total[i] / n
        error = np.sqrt(np.maximum(sums.squares[i] / n - mean**2, 0) / n)
        off = np.sqrt(np.mean(((mean - expected)[error > 0] / error[error > 0]) ** 2))
        # Cells of one unit share much of their noise; where the profile varies over genes its pattern decides.
        if off > STANDARD_ERRORS and not np.corrcoef(mean, expected)[0, 1] >= AGREES:
            return f"the mean of the control cells is {off:.0f} standard errors from their profile without noise; are the genes in order?"
    return None


def _split(loaded: Loaded) -> str | None:
    if not loaded.manifests:
        return f"split '{loaded.card.default_split}' makes no fold of it."
    return None


def _audited(loaded: Loaded) -> str | None:
    for manifest in loaded.manifests:
        for finding in audit(manifest, loaded.screen):
            if finding.status == "fail":
                return f"fold {manifest.fold}, rule {finding.rule} ({finding.name}): {finding.detail}"
    return None


def _large_enough(loaded: Loaded) -> str | None:
    for manifest in loaded.manifests:
        if manifest.declared.get("level") == "units":
            # Latent variables are not scored by condition.
            continue
        kept = np.isin(loaded.screen.barcodes, np.asarray(manifest.test_cells, dtype=str))
        cells = Counter(loaded.screen.codes[kept].tolist()) if manifest.test_cells else Counter(loaded.screen.codes.tolist())
        position = {c: i for i, c in enumerate(loaded.screen.conditions)}
        if small := [c for c in manifest.with_role("test") if cells[position[c]] < MIN_CELLS]:
            return f"fold {manifest.fold} scores {small[0].key!r}, which has {cells[position[small[0]]]} test cells; {MIN_CELLS} are the least."
    if not any(manifest.with_role("test") for manifest in loaded.manifests):
        return "no condition is left to be scored."
    return None


def _order(loaded: Loaded) -> str | None:
    moved = shuffled(loaded.screen)
    if moved.conditions != loaded.screen.conditions:
        return "the conditions change with the order of the cells."
    again = make_splits(Request(loaded.card.default_split), moved, loaded.dataset.data_id())
    if [m.id for m in again] != [m.id for m in loaded.manifests]:
        return f"split '{loaded.card.default_split}' divides it in another way when cells and genes come in another order."
    return None


CARD = "the card is complete: name, title, source, licence, citation, scale, control, modality, split"
IDENTITY = "data_id is text that stays the same"
LOADS = "loads, as what the card declares"
CHECKS: dict[str, Callable[[Loaded], str | None]] = {
    CARD: _card,
    "the card is the same after JSON": _json,
    IDENTITY: _data_id,
    LOADS: _loads,
    "values are finite numbers": _finite,
    "the declared scale is true": _scale,
    "names of cells and genes are unique": _names,
    "labels are canonical, columns are complete": _columns,
    "there are enough control cells in every context": _controls,
    "nothing else stands against a run": _valid,
    "the card counts what is loaded": _counted,
    "two loads give the same": _again,
    "known latent variables cover every perturbation": _latents,
    "profiles without noise belong to the cells": _noise_free,
    "the default split can be made": _split,
    "the audit of the default split finds no leak": _audited,
    "every scored condition has enough cells": _large_enough,
    "order of cells and genes does not matter": _order,
}
