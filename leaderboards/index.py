"""The index of all boards as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .board import Board
from .identification import Identification
from .identification_tables import places
from .published import Published
from .side_by_side import side_by_side
from .text import escape, table

#: Of the models that share a rank, so many are named.
NAMED = 4

INTRODUCTION = (
    "Each line is a board: all models on one data set and split, with an interval around every mean, the controls that say what "
    "a number can mean, and plain words on what may be concluded. Ranks are shared where tests cannot tell models apart. A metric is "
    "grey where its own controls cannot be told apart; it ranks nothing."
)
READING = """## How to read and to cite

Read the words above a board first: they say what its numbers cannot tell. `docs/reading.md` says how ranks, intervals, controls and
grey columns come about. A number is named by its board, model, metric and the metric's version; the page of a board has the identities
of its data, splits and records. Cite them with the version of pbench.

The records are beside the boards. `pbench verify` scores a bundle of them again, `pbench publish --check` says whether these pages are
what the records give, and `docs/publishing.md` how they are made."""


def index(published: Published, links: Mapping[tuple[str, str, str], str]) -> str:
    """Markdown of the index.

    Parameters
    ----------
    links
        Page of each board by data set, split and kind.
    """
    rows = [_prediction(b, published, links) for b in published.boards]
    rows += [_identification(b, published, links) for b in published.codes]
    header = ["board", "data", "asks for", "models", "conditions", "seeds", "audit", "rank 1", "grey headline metrics"]
    parts = ["# Leaderboards", INTRODUCTION, table(rows, header) if rows else "There are no records yet."]
    asked = {b.dataset for b in published.codes}
    if together := side_by_side([b for b in published.boards if b.dataset in asked], published.codes, published.metrics):
        parts.append(together)
    parts.append(READING)
    for title, text, names in (
        ("Refused", "Not shown, because the leakage audit of their split or model failed.", published.refused),
        ("Damaged records", "Not whole; they count as absent.", published.damaged),
    ):
        if names:
            parts += [f"## {title}", text, "\n".join(f"- {escape(n)}" for n in names)]
    return "\n\n".join(parts) + "\n"


def _prediction(board: Board, published: Published, links: Mapping[tuple[str, str, str], str]) -> list[str]:
    headline = [m for m in board.metrics if published.metrics[m].headline]
    grey = [m for m in headline if m in board.grey]
    return [
        f"[{escape(board.dataset)} · {escape(board.split)}]({links[board.dataset, board.split, 'prediction']})",
        "simulated" if board.card["simulated"] else "measured",
        "conditions",
        str(sum(not x.reference_row and x.status == "ok" for x in board.lines)),
        str(max((x.asked for x in board.lines), default=0)),
        str(len(board.seeds)),
        board.audit["status"],
        _named([x.model for x in board.lines if x.rank == 1]),
        f"{len(grey)} of {len(headline)}" + (f": {', '.join(map(escape, grey))}" if 0 < len(grey) < len(headline) else ""),
    ]


def _identification(board: Identification, published: Published, links: Mapping[tuple[str, str, str], str]) -> list[str]:
    first = [model for model, rank in places(board).items() if rank == 1]
    return [
        f"[{escape(board.dataset)} · {escape(board.split)}]({links[board.dataset, board.split, 'identification']})",
        "simulated" if board.card["simulated"] else "measured",
        "latent variables",
        str(sum(not x.reference_row and x.status == "ok" for x in board.lines)),
        f"{len(board.latents)} latents",
        str(len(board.seeds)),
        board.audit,
        _named(first),
        "–",
    ]


def _named(models: Sequence[str]) -> str:
    if not models:
        return "nobody is ranked"
    more = f" and {len(models) - NAMED} more" if len(models) > NAMED else ""
    return ", ".join(map(escape, models[:NAMED])) + more
