"""A data set: AnnData with canonical columns, a declared scale and a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .condition import Condition, parse_label, sort_key
from .errors import DataError
from .latents import GroundTruth, read_ground_truth
from .values import ValueCheck

if TYPE_CHECKING:
    from anndata import AnnData

Array = np.ndarray[Any, Any]

SCALES = ("counts", "log1p_1e4", "raw")


#: Facts of a card that every board shows.
SHOWN = ("title", "source", "licence", "scale")


@dataclass(frozen=True)
class DatasetCard:
    """What must be known of a data set before its numbers mean anything.

    Parameters
    ----------
    name, title
        Registered name and one line for people.
    source, licence, citation
        Where it comes from, under which terms, and what to cite.
    scale
        Scale of X: ``counts`` (UMI or reads), ``log1p_1e4`` (natural log of 1 + counts per 10,000), or ``raw``
        (anything else, taken as it is).
    control_label
        Label of control cells in the file that is read.
    modality
        ``CRISPRa``, ``CRISPRi``, ``CRISPR-KO``, ``compound``, ``cytokine`` …
    n_cells, n_genes, n_perturbations
        Counts of the file that the card describes; None where they are not fixed.
    sha256
        Of the file that the card describes; None where there is no one file.
    simulated
        True for generated screens; every table says so.
    feature_selection
        ``none``, or how genes were selected by the provider, such as ``hvg_all`` (on all cells, test cells included).
    default_split
        Split that is used when none is named.
    known_defects
        What is known to be wrong or surprising.

    Raises
    ------
    DataError
        If title, source, licence or scale is no text: every board shows them.
    """

    name: str
    title: str
    source: str
    licence: str
    scale: str
    control_label: str
    modality: str = ""
    citation: str = ""
    n_cells: int | None = None
    n_genes: int | None = None
    n_perturbations: int | None = None
    sha256: str | None = None
    simulated: bool = False
    feature_selection: str = "none"
    default_split: str = "unseen-single"
    known_defects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in SHOWN:
            if not isinstance(value := getattr(self, name), str):
                raise DataError(f"The card of data set {self.name!r} has {value!r} as its {name}, which must be a text.")

    def to_dict(self) -> dict[str, Any]:
        """All facts as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> DatasetCard:
        """The card that `to_dict` has written."""
        return cls(**{**value, "known_defects": tuple(value.get("known_defects", ()))})


@dataclass(frozen=True)
class Dataset:
    """A registered data set: its card, its identity, and how to load it.

    Parameters
    ----------
    card
        Facts known without loading.
    data_id
        Returns the identity (sha256) of the data as it lies here; raises `DataError` where it is absent.
    load
        Returns the `Screen`.
    fetch
        Brings the file into the data folder and returns its path; None where nothing can be fetched.
    file
        Name of the file in the data folder; None for generated data.
    generate
        Of generated data: makes the data set with other values of the generator's keyword parameters.
    parameters
        Values of those parameters, for people.
    picture
        Writes a PNG that shows samples to a path; None where there is nothing to see.
    open
        Returns the `Screen` too; where its matrix takes more bytes than the argument, the values stay in their file
        (`Screen.rows`). None where the data set is loaded whole.
    """

    card: DatasetCard
    data_id: Callable[[], str]
    load: Callable[[], Screen]
    fetch: Callable[[], Path] | None = None
    file: str | None = None
    generate: Callable[..., Dataset] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    picture: Callable[[Path], None] | None = None
    open: Callable[[float], Screen] | None = None


class Rows(Protocol):
    """The rows of a matrix that stays in its file."""

    @property
    def name(self) -> str:
        """Of the file, for messages."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        ...

    def blocks(self, start: int = 0, scratch: Path | None = None) -> Iterator[tuple[int, Any]]:
        """Float32 blocks, CSR or dense, each with the position of its first row; from row `start` on.

        Temporary files go to the folder `scratch`.
        """
        ...


@dataclass(frozen=True)
class Screen:
    """An AnnData in canonical form: one row a cell, ``obs["perturbation"]`` canonical labels.

    Parameters
    ----------
    adata
        X is CSR float32 or a dense array; obs has ``perturbation`` (canonical label) and may have ``context``,
        ``batch``, ``dose`` (one number a target joined by ``+``), ``time`` (hours), ``unit`` (cells with the same one were
        observed at several times). Screens whose latent variables are known hold a `GroundTruth`; those of images have
        their shape in ``uns["image_shape"]``.
    card
        Declares the scale.
    noise_free
        Mean log1p profile without sampling noise by condition, for simulated screens.
    resources
        Side information that comes with the screen.
    rows
        The values of X where these stay in their file; ``adata.X`` is None then, and what reads the rows checks them.
    """

    adata: AnnData
    card: DatasetCard
    noise_free: Mapping[Condition, Array] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    rows: Rows | None = None

    @cached_property
    def _coded(self) -> tuple[tuple[Condition, ...], Array]:
        obs: Any = self.adata.obs
        columns = [c for c in ("perturbation", "dose", "time", "context") if c in obs]
        number = obs[columns].groupby(columns, observed=True, sort=False, dropna=False).ngroup().to_numpy()
        first = obs[columns].iloc[np.unique(number, return_index=True)[1]]
        raw = [_condition(row) for row in first.to_dict("records")]
        conditions = tuple(sorted(set(raw), key=sort_key))
        position = {c: i for i, c in enumerate(conditions)}
        return conditions, np.array([position[c] for c in raw])[number]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions, controls included, sorted."""
        return self._coded[0]

    @property
    def codes(self) -> Array:
        """(n,) index into `conditions` of each cell."""
        return self._coded[1]

    @property
    def perturbed(self) -> tuple[Condition, ...]:
        """Conditions that are no controls, sorted."""
        return tuple(c for c in self.conditions if not c.is_control)

    @property
    def n_cells(self) -> dict[Condition, int]:
        """Number of cells of each condition, controls included."""
        counts = np.bincount(self.codes, minlength=len(self.conditions))
        return {c: int(n) for c, n in zip(self.conditions, counts, strict=True)}

    @cached_property
    def ground_truth(self) -> GroundTruth | None:
        """The latent variables behind the cells, where they are known."""
        return read_ground_truth(self.adata)

    @property
    def genes(self) -> Array:
        """(G,) names of genes, in the order of the columns."""
        return self.adata.var_names.to_numpy().astype(str)

    @property
    def barcodes(self) -> Array:
        """(n,) names of cells, in the order of the rows."""
        return self.adata.obs_names.to_numpy().astype(str)


def _condition(row: Mapping[str, Any]) -> Condition:
    targets = parse_label(str(row["perturbation"]))
    context = row.get("context")
    context = None if context is None or context != context else str(context)
    if not targets:
        return Condition(context=context)
    time = row.get("time")
    time = None if time is None or time != time else float(time)
    dose = row.get("dose")
    doses = () if dose is None or dose != dose or dose == "" else tuple(float(d) for d in str(dose).split("+"))
    return Condition(targets, doses, time, context)


def validate(screen: Screen, *, source: str) -> Screen:
    """Check that a screen is what its card declares; returns it unchanged.

    Parameters
    ----------
    screen
        What a reader or a generator has made.
    source
        File or generator to name in errors; where the values stay in a file, they are checked when they are read.

    Raises
    ------
    DataError
        One sentence that names the source, the column and the fix.
    """
    adata, card = screen.adata, screen.card
    if card.scale not in SCALES:
        raise DataError(f"{source}: the declared scale '{card.scale}' is unknown; declare one of {', '.join(SCALES)}.")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise DataError(f"{source}: the matrix has {adata.n_obs} cells and {adata.n_vars} genes; both must be at least 1.")
    for axis, names in (("obs_names (barcodes)", adata.obs_names), ("var_names (genes)", adata.var_names)):
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            fix = "obs_names_make_unique()" if axis.startswith("obs") else "var_names_make_unique()"
            raise DataError(f"{source}: {axis} are not unique, '{twice}' occurs more than once; drop the copies or call {fix}.")
    if "perturbation" not in adata.obs:
        raise DataError(f"{source}: obs has no column 'perturbation' (columns: {', '.join(map(str, adata.obs))}).")
    if screen.rows is None:
        _validate_values(adata, card.scale, source)
    if not any(c.is_control for c in screen.conditions):
        raise DataError(
            f"{source}: no cell in obs['perturbation'] is labelled control; name the label of the unperturbed cells "
            "with --control-label."
        )
    bare = {c.context for c in screen.perturbed} - {c.context for c in screen.conditions if c.is_control}
    if bare:
        raise DataError(
            f"{source}: context {sorted(map(str, bare))[0]!r} in obs['context'] has perturbed cells and no control cells; "
            "drop those cells, or merge contexts."
        )
    if not screen.perturbed:
        raise DataError(f"{source}: every cell in obs['perturbation'] is a control; a screen needs perturbed cells.")
    return screen


def _validate_values(adata: AnnData, scale: str, source: str) -> None:
    from scipy import sparse

    if adata.X is None:
        raise DataError(f"{source}: X is empty; name the layer that holds expression with --layer.")
    X: Any = adata.X
    check = ValueCheck(scale, source)
    check.add(X.data if sparse.issparse(X) else np.asarray(X))
    check.finish()
