"""Which published numbers moved between two states of the records or of the code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..bench.contracts.errors import DataError
from .board import Board
from .controls import Controls
from .identification import PRIMARY as CODES
from .identification import Identification
from .identification_tables import places
from .order import PRIMARY
from .text import escape, number, span, table

FORMAT = 1
#: What a metric can tell is published as well; it stands here in the place of a model.
FRACTION, WINS = "(dynamic range fraction)", "(share of wins)"
#: Below this, numbers are rounding noise of sums: always, and between machines.
ZERO, ZERO_ELSEWHERE = 1e-9, 1e-6
#: So many standard errors of a difference of two runs still count as the noise of training.
NOISE = 3.0


class Key(NamedTuple):
    """Which number: `kind` is prediction or identification."""

    dataset: str
    split: str
    kind: str
    model: str
    metric: str


@dataclass(frozen=True)
class Number:
    """A published number.

    Parameters
    ----------
    mean, low, high
        With its 95 % interval; NaN where undefined.
    error
        Standard error of the difference of two such means from the trainings of two runs; NaN for a single seed and for what
        is deterministic.
    rank
        Of the model by this metric, if the board ranks it.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    error: float = math.nan
    rank: int | None = None

    def same(self, other: Number) -> bool:
        """Whether both are the same as far as boards show."""
        return all(_alike(getattr(self, x), getattr(other, x)) for x in ("mean", "low", "high"))

    def near(self, other: Number) -> bool:
        """Whether the means differ by no more than two runs of stochastic models do, or sums on two machines."""
        allowed = NOISE * max((e for e in (self.error, other.error) if not math.isnan(e)), default=0.0)
        return abs(self.mean - other.mean) <= max(allowed, ZERO_ELSEWHERE)

    def __str__(self) -> str:
        return span(self.mean, self.low, self.high)


def _alike(a: float, b: float) -> bool:
    """Equal up to half a unit of the third significant digit, which is the last that boards show."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    largest = max(abs(a), abs(b))
    return largest < ZERO or abs(a - b) <= max(ZERO, 0.5 * 10 ** (math.floor(math.log10(largest)) - 2))


def numbers(boards: Sequence[Board], codes: Sequence[Identification]) -> dict[Key, Number]:
    """Every number on some boards."""
    found: dict[Key, Number] = {}
    for b in boards:
        factor = math.sqrt(2 / len(b.seeds)) if b.seeds else math.nan
        for line in (*b.lines, *b.gamers):
            for metric, c in line.cells.items():
                ranked = line.rank if b.order is not None and metric == PRIMARY else None
                key = Key(b.dataset, b.split, "prediction", line.model, metric)
                found[key] = Number(c.mean, c.low, c.high, c.seed_sd * factor, ranked)
        for metric, known in b.controls.items():
            found |= _of_controls(b, metric, known)
    for b in codes:
        by_model = places(b)
        for line in b.lines:
            for metric, s in line.scores.items():
                key = Key(b.dataset, b.split, "identification", line.model, metric)
                ranked = by_model.get(line.model) if metric == CODES else None
                found[key] = Number(s.mean, s.low, s.high, _error(s.seeds), ranked)
    return found


def _of_controls(board: Board, metric: str, known: Controls) -> dict[Key, Number]:
    c = known.decides
    return {
        Key(board.dataset, board.split, "prediction", FRACTION, metric): Number(c.drf, c.drf_low, c.drf_high),
        Key(board.dataset, board.split, "prediction", WINS, metric): Number(c.bds, c.bds_low, c.bds_high),
    }


def _error(seeds: Sequence[float]) -> float:
    n = len(seeds)
    if n < 2:
        return math.nan
    mean = sum(seeds) / n
    return math.sqrt(sum((s - mean) ** 2 for s in seeds) / (n - 1) * 2 / n)


@dataclass(frozen=True)
class Comparison:
    """Numbers that differ between two sets.

    Parameters
    ----------
    moved, noise
        Numbers that are in both and differ: more, and no more than the noise of training allows (empty unless asked for).
    appeared, vanished
        Numbers that only the new, or only the old set has.
    ranks
        Ranks that changed: a model can lose its place because others came, went or moved.
    same
        How many did not move.
    """

    moved: Mapping[Key, tuple[Number, Number]]
    noise: Mapping[Key, tuple[Number, Number]]
    appeared: Mapping[Key, Number]
    vanished: Mapping[Key, Number]
    ranks: Mapping[Key, tuple[int | None, int | None]]
    same: int

    @property
    def alarm(self) -> bool:
        """Whether a number that was published is not there any more as it was."""
        return bool(self.moved or self.vanished)


def compare(old: Mapping[Key, Number], new: Mapping[Key, Number], *, noise: bool = False, shared: bool = False) -> Comparison:
    """Compare two sets of numbers.

    Parameters
    ----------
    noise
        Whether what differs no more than two runs of stochastic models do stands apart: for runs on other machines or
        versions, where the same seed does not give the same network.
    shared
        Leave out boards that only one of the sets has.
    """
    if shared:
        both = {k[:3] for k in old} & {k[:3] for k in new}
        old = {k: n for k, n in old.items() if k[:3] in both}
        new = {k: n for k, n in new.items() if k[:3] in both}
    differ = {k: (old[k], new[k]) for k in sorted(set(old) & set(new)) if not old[k].same(new[k])}
    within = {k: pair for k, pair in differ.items() if noise and pair[0].near(pair[1])}
    return Comparison(
        {k: pair for k, pair in differ.items() if k not in within},
        within,
        {k: new[k] for k in sorted(set(new) - set(old))},
        {k: old[k] for k in sorted(set(old) - set(new))},
        {k: (old[k].rank, new[k].rank) for k in sorted(set(old) & set(new)) if old[k].rank != new[k].rank},
        len(set(old) & set(new)) - len(differ),
    )


def markdown(found: Comparison) -> str:
    """What differs, as tables; a line where nothing does."""
    parts = []
    if found.moved:
        parts += [f"## Moved: {len(found.moved)} numbers", _pairs(found.moved)]
    if found.vanished:
        parts += [f"## Vanished: {len(found.vanished)} numbers", _singles(found.vanished)]
    if found.noise:
        parts += [f"## Within the noise of training: {len(found.noise)} numbers", _pairs(found.noise)]
    if found.appeared:
        parts += [f"## New: {len(found.appeared)} numbers", _singles(found.appeared)]
    if found.ranks:
        rows = [[*_place(k)[:2], *("–" if r is None else str(r) for r in pair)] for k, pair in found.ranks.items()]
        parts += [f"## Other ranks: {len(found.ranks)} models", table(rows, ["board", "model", "was", "is"])]
    parts.append(f"{found.same} published numbers are as they were.")
    return "\n\n".join(parts) + "\n"


def _place(key: Key) -> list[str]:
    kind = "" if key.kind == "prediction" else " · latent variables"
    return [f"{escape(key.dataset)} · {escape(key.split)}{kind}", escape(key.model), escape(key.metric)]


def _pairs(pairs: Mapping[Key, tuple[Number, Number]]) -> str:
    rows = [[*_place(k), str(a), str(b), number(b.mean - a.mean)] for k, (a, b) in pairs.items()]
    return table(rows, ["board", "model", "metric", "was", "is", "difference"])


#: Of what came or went, so many rows are shown one by one; beyond, a count for each model.
LISTED = 40


def _singles(found: Mapping[Key, Number]) -> str:
    if len(found) <= LISTED:
        return table([[*_place(k), str(n)] for k, n in found.items()], ["board", "model", "metric", "number"])
    count: dict[tuple[str, str], int] = {}
    for key in found:
        board, model, _ = _place(key)
        count[board, model] = count.get((board, model), 0) + 1
    return table([[*place, str(n)] for place, n in count.items()], ["board", "model", "numbers"])


def dump(found: Mapping[Key, Number]) -> str:
    """Numbers as JSON, one a line."""
    lines = [
        json.dumps([*k, *(None if math.isnan(x) else x for x in (n.mean, n.low, n.high, n.error)), n.rank], ensure_ascii=False)
        for k, n in sorted(found.items())
    ]
    return f'{{"format": {FORMAT}, "numbers": [\n' + ",\n".join(lines) + "\n]}\n"


def load(text: str, source: str) -> dict[Key, Number]:
    """Numbers that `dump` wrote.

    Raises
    ------
    DataError
        If it is anything else.
    """
    try:
        given: Any = json.loads(text)
        if given["format"] != FORMAT:
            raise ValueError(f"format {given['format']}")
        found = {}
        for dataset, split, kind, model, metric, mean, low, high, error, rank in given["numbers"]:
            m, lo, hi, e = (math.nan if x is None else float(x) for x in (mean, low, high, error))
            place = None if rank is None else int(rank)
            found[Key(dataset, split, kind, model, metric)] = Number(m, lo, hi, e, place)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{source} holds no numbers of boards ({error}). They are written by: pbench publish --numbers FILE"
        ) from error
    return found
