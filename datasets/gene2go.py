"""The Gene Ontology annotations that GEARS downloads, as a list of genes and terms."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

from ..bench.contracts.errors import DataError
from .download import with_pooch
from .folder import data_folder

#: gene2go_all.pkl of GEARS (Roohani et al. 2023): a dict from gene symbols to sets of GO terms.
URL = "https://dataverse.harvard.edu/api/access/datafile/6153417"
PICKLE, LIST = "side_info/gene2go_all.pkl", "side_info/gene2go.csv"
#: Bytes that are read, and annotations of all genes together.
LARGEST, MOST_TERMS = 256 * 2**20, 20_000_000
#: What a pickle of sets names.
_SETS = tuple(f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset"))
_SET, _MARK = object(), object()


class _Instructions:
    """Follows the instructions of a pickle that make dicts, lists, sets and texts; a set is the list of its items.

    Nothing is unpickled: whatever else there is to do ends the reading.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.places: dict[int, Any] = {}

    def pop(self, kind: type[Any] = object) -> Any:
        if not self.stack or (kind is not object and type(self.stack[-1]) is not kind):
            raise ValueError("it is no dict of sets of texts")
        return self.stack.pop()

    def marked(self) -> list[Any]:
        found = []
        while (item := self.pop()) is not _MARK:
            found.append(item)
        return found[::-1]

    def extend(self, items: list[Any]) -> None:
        if not all(type(item) is str for item in items):
            raise ValueError("something else than texts is in a set")
        held = self.pop(list)
        held += items
        self.stack.append(held)

    def put(self, items: list[Any]) -> None:
        genes, terms = items[::2], items[1::2]
        if not all(type(g) is str for g in genes) or not all(type(t) is list for t in terms) or len(genes) != len(terms):
            raise ValueError("something else than a text has terms, or than a set is its terms")
        held = self.pop(dict)
        held.update(zip(genes, terms, strict=True))
        self.stack.append(held)

    def follow(self, name: str, value: Any) -> None:
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8" | "UNICODE":
                self.stack.append(value)
            case "MARK":
                self.stack.append(_MARK)
            case "EMPTY_DICT" | "DICT":
                items = self.marked() if name == "DICT" else []
                self.stack.append({})
                self.put(items)
            case "EMPTY_LIST" | "EMPTY_SET" | "LIST" | "FROZENSET":
                items = [] if name.startswith("EMPTY") else self.marked()
                self.stack.append([])
                self.extend(items)
            case "APPEND":
                self.extend([self.pop(str)])
            case "APPENDS" | "ADDITEMS":
                self.extend(self.marked())
            case "SETITEM":
                terms = self.pop()
                self.put([self.pop(), terms])
            case "SETITEMS":
                self.put(self.marked())
            case "TUPLE1":
                self.stack.append((self.pop(list),))
            case "TUPLE":
                self.stack.append(tuple(self.marked()))
            case "GLOBAL" | "STACK_GLOBAL":
                named = value if name == "GLOBAL" else " ".join(reversed([self.pop(str), self.pop(str)]))
                if named not in _SETS:
                    raise ValueError(f"it names {named.replace(' ', '.')}")
                self.stack.append(_SET)
            case "REDUCE":
                arguments = self.pop(tuple)
                if self.pop() is not _SET or len(arguments) != 1 or type(arguments[0]) is not list:
                    raise ValueError("something else than a set is made")
                self.stack.append(list(arguments[0]))
            case "MEMOIZE" | "PUT" | "BINPUT" | "LONG_BINPUT":
                top = self.pop()
                self.stack.append(top)
                self.places[len(self.places) if value is None else value] = top
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.places[value])
            case _:
                raise ValueError(f"it has the instruction {name}")


def read_annotations(path: Path) -> dict[str, list[str]]:
    """Sorted terms of each gene of a pickled dict from genes to sets of terms; the pickle is read and never loaded.

    Raises
    ------
    DataError
        If the file holds anything but that.
    """
    again = "Delete it and type: pbench fetch go"
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST // 2**20} MiB")
        made = _Instructions()
        for instruction, value, _ in pickletools.genops(path.read_bytes()):
            made.follow(instruction.name, value)
        found = made.pop(dict)
        if made.stack or sum(map(len, found.values())) > MOST_TERMS:
            raise ValueError("it holds more than one dict, or too many terms")
        # Lone surrogates are no text, and a line is one annotation.
        for text in {*found, *(t for terms in found.values() for t in terms)}:
            text.encode()
            if not text.isprintable() or "," in text:
                raise ValueError("a gene or a term has a comma, or letters that cannot be shown")
    except (ValueError, KeyError, IndexError, OSError, OverflowError) as error:
        said = str(error)[:200]
        raise DataError(f"{path} is not the file of GEARS with a set of terms for each gene: {said}. {again}") from error
    if not found:
        raise DataError(f"{path} holds something else than a set of terms for each gene. {again}")
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
