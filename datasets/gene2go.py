"""The Gene Ontology annotations that GEARS downloads, as a list of genes and terms."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from ..bench.contracts.errors import DataError
from .download import with_pooch
from .folder import data_folder

#: gene2go_all.pkl of GEARS (Roohani et al. 2023): a dict from gene symbols to sets of GO terms.
URL = "https://dataverse.harvard.edu/api/access/datafile/6153417"
PICKLE, LIST = "side_info/gene2go_all.pkl", "side_info/gene2go.csv"


class _Plain(pickle.Unpickler):
    """Builds containers and text; whatever else a pickle names is refused, so that opening it runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {
            ("builtins", "set"),
            ("builtins", "frozenset"),
            ("__builtin__", "set"),
            ("__builtin__", "frozenset"),
        }:
            return {"set": set, "frozenset": frozenset}[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_annotations(path: Path) -> dict[str, list[str]]:
    """Sorted terms of each gene of a pickled dict from genes to sets of terms.

    Raises
    ------
    DataError
        If the file holds anything but that.
    """
    try:
        found = _Plain(io.BytesIO(path.read_bytes())).load()
    except Exception as error:
        raise DataError(
            f"{path} is not the file of GEARS with a set of terms for each gene: {error}. Delete it and type: pbench fetch go"
        ) from error
    plain = (
        isinstance(found, dict)
        and found
        and all(isinstance(g, str) and isinstance(t, set | frozenset | list) for g, t in found.items())
    )
    if not plain or not all(isinstance(term, str) for terms in found.values() for term in terms):
        raise DataError(f"{path} holds something else than a set of terms for each gene. Delete it and type: pbench fetch go")
    return {gene: sorted(set(terms)) for gene, terms in sorted(found.items())}


def fetch(url: str = URL) -> Path:
    """Download the annotations into the data folder and write them as a list, which the resource ``go`` is then read from.

    Raises
    ------
    DataError
        If the host cannot be reached or the file is another.
    """
    target = data_folder() / LIST
    if not target.is_file():
        listed = read_annotations(with_pooch("go", url, (PICKLE,), sha256=None))
        lines = [f"{gene},{term}" for gene, terms in listed.items() for term in terms]
        partial = target.with_suffix(".partial")
        partial.write_text("\n".join(["gene,term", *lines]) + "\n")
        partial.replace(target)
    return target
