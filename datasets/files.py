"""Registered data sets that lie in files: where each comes from and how it is read; what is known of it is on its card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..bench.contracts.identity import content_id, file_sha256
from ..bench.contracts.screen import Dataset, DatasetCard, Screen
from .download import verified, with_pertpy, with_pooch
from .folder import find, not_here
from .labels import joined
from .layouts import adamson, genetic, papalexi, scperturb
from .reader import READER_VERSION, Layout, read

PERTURBENCH = (
    "https://raw.githubusercontent.com/altoslabs/perturbench/d357dfae3b50968e800e9f5f273ff145080ae67c/"
    "src/perturbench/data/resources/devel.h5ad"
)
SCPERTURB = "https://zenodo.org/records/10044268/files/"


@dataclass(frozen=True)
class Source:
    """Where a data set's file comes from.

    Parameters
    ----------
    files
        Names under which people hold it; the first is the one that `fetch` writes.
    layout
        How to read a file of it.
    pertpy
        Loader of `pertpy.dt` that downloads the first file.
    url
        Address of the first file, where pertpy has no loader for it.
    """

    files: tuple[str, ...]
    layout: Callable[[Path], Layout]
    pertpy: str | None = None
    url: str | None = None


def _always(layout: Layout) -> Callable[[Path], Layout]:
    return lambda path: layout


def _perturbench(name: str, context: str | None) -> Layout:
    labels = joined("+", control="control")
    return Layout(
        "perturbation",
        "log1p_1e4",
        labels,
        context=context,
        keep=lambda obs: obs["dataset"].astype(str) == name,
        kept_by=("dataset",),
    )


SOURCES: dict[str, Source] = {
    "norman": Source(
        ("norman_2019.h5ad", "NormanWeissman2019_filtered.h5ad", "norman/perturb_processed.h5ad", "perturb_processed.h5ad"),
        genetic,
        pertpy="norman_2019",
    ),
    "adamson": Source(
        ("adamson_2016_upr_perturb_seq.h5ad", "adamson/perturb_processed.h5ad"), adamson, pertpy="adamson_2016_upr_perturb_seq"
    ),
    # pertpy 1.0.3's replogle_2022_k562_essential downloads Gasperini's file, so this one comes from scPerturb itself.
    "replogle-k562": Source(
        ("ReplogleWeissman2022_K562_essential.h5ad", "replogle_k562_essential/perturb_processed.h5ad"),
        genetic,
        url=SCPERTURB + "ReplogleWeissman2022_K562_essential.h5ad",
    ),
    "replogle-rpe1": Source(
        ("replogle_2022_rpe1.h5ad", "ReplogleWeissman2022_rpe1.h5ad", "replogle_rpe1_essential/perturb_processed.h5ad"),
        genetic,
        pertpy="replogle_2022_rpe1",
    ),
    "dixit": Source(("dixit_2016.h5ad", "DixitRegev2016.h5ad"), genetic, pertpy="dixit_2016"),
    "papalexi": Source(
        ("PapalexiSatija2021_eccite_RNA.h5ad",), _always(papalexi()), url=SCPERTURB + "PapalexiSatija2021_eccite_RNA.h5ad"
    ),
    "frangieh": Source(
        ("frangieh_2021_rna.h5ad", "FrangiehIzar2021_RNA.h5ad"),
        _always(scperturb(context="perturbation_2")),
        pertpy="frangieh_2021_rna",
    ),
    "sciplex3": Source(
        ("srivatsan_2020_sciplex3.h5ad", "SrivatsanTrapnell2020_sciplex3.h5ad"),
        _always(scperturb(context="cell_line", dose="dose_value")),
        pertpy="srivatsan_2020_sciplex3",
    ),
    "kang": Source(
        ("kang_2018.h5ad",),
        _always(Layout("label", "counts", joined(None, control="ctrl"), "ctrl", context="cell_type", batch="replicate")),
        pertpy="kang_2018",
    ),
    "norman-mini": Source(("perturbench_devel.h5ad", "devel.h5ad"), _always(_perturbench("norman19", None)), url=PERTURBENCH),
    "mcfaline-mini": Source(
        ("perturbench_devel.h5ad", "devel.h5ad"), _always(_perturbench("mcfaline23", "cell_type")), url=PERTURBENCH
    ),
    "papalexi-mini": Source(
        ("papalexi21_thp1_299genes.h5ad",),
        _always(Layout("perturbation", "counts", joined(None, control="control"), batch="bio_rep")),
    ),
    "kang-mini": Source(
        ("kang18_scgen_valid_6998genes.h5ad",),
        # Every value times n_counts / 1,832.5 after expm1 is a whole number, so bringing the total to 10,000 loses nothing.
        _always(Layout("perturbation", "log1p_1e4", joined(None, control="control"), context="cell_type", total=1832.5)),
    ),
    "shalek-lps": Source(
        ("shalek14_bmdc_lps_timecourse_4016genes.h5ad",),
        _always(Layout("perturbation", "counts", joined(None, control="control"), time="time_h", control_time=1.0)),
    ),
    "kouno-pma": Source(
        ("kouno13_thp1_pma_timecourse_45tf.h5ad",),
        _always(Layout("perturbation", "raw", joined(None, control="control"), time="time_h", control_time=0.0)),
    ),
}


def card(name: str) -> DatasetCard:
    """The card of a data set in a file."""
    return DatasetCard.from_dict(json.loads((Path(__file__).parent / "cards" / f"{name}.json").read_text()))


def dataset(name: str, sources: Mapping[str, Source] = SOURCES) -> Dataset:
    """The registered data set `name`."""
    source, facts = sources[name], card(name)

    def path() -> Path:
        found = find(source.files)
        if found is None:
            if source.pertpy is None and source.url is None:
                raise not_here(
                    name, source.files, tried="It cannot be downloaded by pbench; its card says where it is published."
                )
            return fetch()
        # A checksum is known of the first file only; the others are the same screen in other people's shapes.
        known = facts.sha256 if found.name == source.files[0] else None
        return verified(name, found, known, keep=False)

    def fetch() -> Path:
        if find(source.files) is not None:
            return path()
        if source.pertpy is not None:
            return with_pertpy(name, source.pertpy, source.files)
        if source.url is None:
            return path()
        return with_pooch(name, source.url, source.files, sha256=facts.sha256)

    def load(limit: float | None = None) -> Screen:
        file = path()
        return read(file, source.layout(file), facts, limit)

    return Dataset(
        card=facts,
        data_id=lambda: content_id([file_sha256(path()), name, READER_VERSION]),
        load=load,
        open=load,
        fetch=fetch,
        file=source.files[0],
    )


def __getattr__(name: str) -> Dataset:
    """Data sets as attributes (``NORMAN_MINI``), so that the registry can import each by name."""
    key = name.lower().replace("_", "-")
    if key not in SOURCES:
        raise AttributeError(f"no data set {key!r}")
    return dataset(key)
