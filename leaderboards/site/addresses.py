"""Where a board stands on the site."""

from __future__ import annotations

from ..board import Board
from ..identification import Identification
from ..slugs import slug

PREDICTION, IDENTIFICATION = "prediction", "identification"


def kind(board: Board | Identification) -> str:
    """``prediction`` or ``identification``."""
    return IDENTIFICATION if isinstance(board, Identification) else PREDICTION


def address(board: Board | Identification) -> str:
    """The slug of a board; no two boards have the same."""
    return place(board.dataset, board.split, kind(board))


def place(dataset: str, split: str, of: str) -> str:
    """The slug of the board of a kind on a data set and split."""
    return f"{slug(dataset)}--{slug(split)}" + (f"--{IDENTIFICATION}" if of == IDENTIFICATION else "")
