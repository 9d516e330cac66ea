"""Plain words above a board: those of ``published.toml``, and sentences that follow from the facts on any board."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bench.contracts import registry
from ..bench.contracts.errors import DataError
from ..bench.contracts.metric import MetricInfo
from .board import Board
from .identification import Identification
from .order import PRIMARY
from .published import Words

#: Fewer conditions than this, and an order of models says little about others.
FEW = 20
KEYS = {"dataset", "split", "title", "may", "may_not", "command", "nightly"}


@dataclass(frozen=True)
class Entry:
    """A board that is published.

    Parameters
    ----------
    nightly
        Whether its command needs no download and little time, so that it is run every night.
    """

    dataset: str
    split: str
    words: Words
    nightly: bool


def read_entries(path: Path) -> list[Entry]:
    """The boards that a ``published.toml`` lists, in its order; none where there is no such file.

    Raises
    ------
    DataError
        If the file is no TOML, lacks a key or has one that is not known, lists a board twice, or has a command that is not a
        single ``pbench run``.
    """
    if not path.is_file():
        return []
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("board", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from error
    if not isinstance(found, list):
        raise DataError(f"{path}: write each board under a line [[board]].")
    entries = [_entry(path, number, given) for number, given in enumerate(found, 1)]
    places = [(e.dataset, e.split) for e in entries]
    if twice := [p for p in places if places.count(p) > 1]:
        raise DataError(f"{path}: the board {twice[0][0]} / {twice[0][1]} is listed twice.")
    return entries


def _entry(path: Path, number: int, given: Any) -> Entry:
    where = f"{path}, board {number}"
    if not isinstance(given, dict) or (unknown := sorted(set(given) - KEYS)):
        raise DataError(
            f"{where}: unknown key {unknown[0]!r}. Known: {', '.join(sorted(KEYS))}." if given else f"{where} is empty."
        )
    for key in sorted(KEYS - {"nightly"}):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise DataError(f"{where}: '{key}' is missing or not a text.")
    if not isinstance(given.get("nightly", False), bool):
        raise DataError(f"{where}: 'nightly' is true or false.")
    words = Words(*(" ".join(given[key].split()) for key in ("title", "may", "may_not", "command")))
    arguments(words.command, where)
    return Entry(given["dataset"], given["split"], words, given.get("nightly", False))


def arguments(command: str, where: str = "command") -> list[str]:
    """What follows ``pbench run`` in a command, as a shell would part it; no shell is involved.

    Raises
    ------
    DataError
        If it is anything else than one ``pbench run``.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DataError(f"{where}: {command!r} cannot be read ({error}).") from error
    if words[:2] != ["pbench", "run"] or any(re.search(r"[;&|<>$`\n]", w) for w in words):
        raise DataError(f"{where}: the command must be a single 'pbench run ...', not {command!r}.")
    return words[2:]


def words_of(board: Board | Identification, entry: Entry | None, metrics: Mapping[str, MetricInfo]) -> Words:
    """Plain words for a board: those of its entry where there is one, followed by what the facts on the board forbid."""
    limits = list(_limits(board, metrics))
    if entry is not None:
        own = entry.words
        return Words(own.title, own.may, "\n".join([own.may_not, *limits]), own.command)
    if isinstance(board, Board):
        may = (
            "Which of these models come nearer to the measured means of these conditions, on this data set and split, as far as "
            "their ranks differ."
        )
    else:
        may = (
            "Which of these models' codes say more about the latent variables that generated these cells, as far as ranks differ."
        )
    return Words(str(board.card["title"]), may, "\n".join(limits) or "That the order holds on other data.", _command(board))


def _command(board: Board | Identification) -> str:
    """The command that asks for such a board; empty for data that are not registered, whose path no record holds."""
    if board.dataset.partition("[")[0] not in registry.datasets:
        return ""
    track = [] if isinstance(board, Board) else ["--track", "identifiability"]
    seeds = str(len(board.seeds)) if board.seeds == tuple(range(len(board.seeds))) else ",".join(map(str, board.seeds))
    presets = _presets(board)
    preset = ["--preset", presets[0]] if len(presets) == 1 else []
    return shlex.join(["pbench", "run", "--dataset", board.dataset, "--split", board.split, *track, *preset, "--seeds", seeds])


def _presets(board: Board | Identification) -> list[str]:
    """Presets other than the standard one, which models bear in their names."""
    return sorted({m[1] for x in board.lines if (m := re.search(r" \((\w+)\)$", x.model))})


def _limits(board: Board | Identification, metrics: Mapping[str, MetricInfo]) -> Iterator[str]:
    """What a reader may not conclude, from the facts on a board."""
    if board.card["simulated"]:
        yield "Anything about cells: the data are simulated."
    if isinstance(board, Board):
        yield from _limits_of_predictions(board, metrics)
    elif not board.known:
        yield "That codes are true: the latent variables are not known, and only the agreement of trainings is shown."
    if "quick" in _presets(board):
        yield "How networks do that have time to train: those with (quick) behind their names had little."
    if len(board.seeds) == 1 and any(getattr(x, "stochastic", True) for x in board.lines):
        yield "How much a network moves from one training to the next: one seed was run."


def _limits_of_predictions(board: Board, metrics: Mapping[str, MetricInfo]) -> Iterator[str]:
    asked = max((x.asked for x in board.lines), default=0)
    if PRIMARY in board.grey:
        yield f"Which model is better: {PRIMARY} does not rank here ({board.why_grey(PRIMARY)})."
    elif first := [x.model for x in board.lines if x.rank == 1][1:]:
        yield f"That one of the {len(first) + 1} models on rank 1 is better than another: the tests do not tell them apart."
    if asked < FEW:
        yield f"That the order holds for other perturbations: test conditions here are {asked} in number."
    if board.contexts > 1:
        yield f"How models do on a context that is not among the {board.contexts} here."
    if grey := [m for m in board.metrics if m in board.grey and m != PRIMARY and metrics[m].headline]:
        yield f"Anything from {', '.join(grey)}: grey, since controls do not differ there or are not known."
    if not board.training_stated:
        yield "That nothing leaked from training: nobody has said what was in it."
    warned = sorted({f["name"] for f in board.audit["findings"] if f["status"] == "warn"})
    if warned:
        yield f"That nothing in the data or the split favours a model: the leakage audit remarks on {', '.join(warned)}."
