"""Everything that is published, read once: boards in markdown, the index and the site are pure functions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..bench.contracts.metric import MetricInfo
from .board import Board
from .identification import Identification


@dataclass(frozen=True)
class Words:
    """Plain words above a board.

    Parameters
    ----------
    title
        What the board is about, in a line.
    may, may_not
        What a reader may and may not conclude.
    command
        The one command that makes the results again.
    """

    title: str
    may: str
    may_not: str
    command: str


@dataclass(frozen=True)
class Published:
    """All boards with the records behind them.

    Parameters
    ----------
    boards, codes
        Boards of predictions and of latent variables.
    metrics
        Facts about the metrics, in the order of the columns.
    cards, rows
        Current run cards, and their tidy rows.
    shifts
        True and predicted change of genes by model, fold and condition: columns of ``shifts.parquet`` with dataset and split.
    words
        By data set and split; boards of latent variables by data set and split as well.
    history
        Frozen headline means: ``{"version", "numbers": [[dataset, split, model, metric, mean], ...]}``, oldest first.
    refused, damaged
        Results whose audit failed, and records that cannot be read.
    """

    boards: Sequence[Board]
    codes: Sequence[Identification]
    metrics: Mapping[str, MetricInfo]
    cards: Sequence[Mapping[str, Any]]
    rows: pd.DataFrame
    shifts: pd.DataFrame
    words: Mapping[tuple[str, str], Words]
    history: Sequence[Mapping[str, Any]]
    refused: Sequence[str] = ()
    damaged: Sequence[str] = ()
