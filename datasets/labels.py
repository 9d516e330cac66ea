"""Perturbation labels as people write them, turned into canonical ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..bench.contracts.condition import CONTROL, Condition, check_name
from ..bench.contracts.errors import DataError

Parse = Callable[[str], tuple[str, ...]]


def joined(separator: str | None, *, control: str, tokens: Iterable[str] = ()) -> Parse:
    """Parser of labels that join targets: ``A+ctrl`` (GEARS), ``A_B`` (scPerturb), ``A+B``.

    Parameters
    ----------
    separator
        What joins targets; None where each label is one target, whatever it contains.
    control
        Label of unperturbed cells; also dropped where it stands for "no second target".
    tokens
        Further names of controls.
    """
    nothing = {control, *tokens}

    def parse(label: str) -> tuple[str, ...]:
        if label in nothing:
            return ()
        parts = [p.strip() for p in label.split(separator)] if separator else [label.strip()]
        return tuple(p for p in parts if p not in nothing)

    return parse


def guides(control_pattern: str = r"NegCtrl\d*") -> Parse:
    """Parser of guide identities of Norman 2019 (``KLF1_NegCtrl0__KLF1_NegCtrl0``): two targets, named twice."""
    control = re.compile(control_pattern)

    def parse(label: str) -> tuple[str, ...]:
        return tuple(part for part in label.partition("__")[0].split("_") if not control.fullmatch(part))

    return parse


def constructs(*, controls: Iterable[str]) -> Parse:
    """Parser of vector names of Adamson 2016 (``SPI1_pDS255``): the gene, then the plasmid.

    Parameters
    ----------
    controls
        Plasmid names with non-targeting guides.
    """
    nothing = set(controls)

    def parse(label: str) -> tuple[str, ...]:
        return () if label in nothing else (re.sub(r"_p[A-Z]{2}\d+(-\d+)?$", "", label),)

    return parse


def numbered(*, control: str) -> Parse:
    """Parser of guide names that end in their number (``ATF2g1``): the gene."""

    def parse(label: str) -> tuple[str, ...]:
        return () if label == control else (re.sub(r"g\d+$", "", label),)

    return parse


def shown(label: str) -> str:
    """A label for a message: quoted, and cut where it is very long."""
    return repr(label if len(label) <= 60 else label[:60] + "…")


def canonical(label: str, parse: Parse, *, where: str) -> str:
    """The canonical label: escaped sorted targets joined by ``+``, or ``control``.

    A target that is named twice counts once.

    Raises
    ------
    DataError
        If the label is empty or names an empty target.
    """
    if not label.strip():
        raise DataError(f"{where} holds an empty label; drop those cells or label them as controls.")
    targets = parse(label)
    if any(not t for t in targets):
        raise DataError(f"{where}: the label {shown(label)} names an empty target; mend the label, or give another --separator.")
    if CONTROL in targets:
        raise DataError(
            f"{where}: the label {shown(label)} names a target '{CONTROL}', which is kept for unperturbed cells; rename it."
        )
    for target in targets:
        check_name(target, where)
    return Condition(tuple(sorted(set(targets)))).label
