"""The pages that are published as markdown: one for each board, and the index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from .board import Board
from .identification import Identification
from .index import index
from .markdown import render
from .published import Published, Words
from .slugs import slug
from .text import escape

#: First line of every generated page; only files that begin with it are ever replaced or removed.
MARK = "<!-- Written by pbench publish from the records; what is edited here is lost. -->"
INDEX = "README.md"


def page_of(board: Board | Identification) -> str:
    """Path of a board's page below the root."""
    ending = "" if isinstance(board, Board) else "-identification"
    return f"boards/{slug(board.dataset)}/{slug(board.split)}{ending}.md"


def pages(published: Published) -> Iterator[tuple[str, str]]:
    """Path below the root and text of every page, the index last."""
    for board in (*published.boards, *published.codes):
        yield page_of(board), page(board, published)
    yield INDEX, f"{MARK}\n\n{index(published, links(published))}"


def page(board: Board | Identification, published: Published) -> str:
    """Markdown of one board below its plain words."""
    own, codes = ([board], []) if isinstance(board, Board) else ([], [board])
    words = published.words[board.dataset, board.split]
    return "\n\n".join([MARK, *_head(board, words, published), render(own, published.metrics, codes=codes)])


def _head(board: Board | Identification, words: Words, published: Published) -> Iterator[str]:
    above = "../" * (len(PurePosixPath(page_of(board)).parts) - 1)
    yield f"# {escape(words.title)}"
    yield f"[All boards]({above}{INDEX})"
    yield f"**What may be concluded:** {escape(words.may)}"
    yield "**What may not be concluded:**\n\n" + "\n".join(f"- {escape(line)}" for line in words.may_not.splitlines())
    if words.command:
        yield f"The one command that makes these results again:\n\n    {_line(words.command)}"
    own = [s for s in published.sources if (s.dataset, s.split) == (board.dataset, board.split)]
    if own:
        listed = [f"[{escape(PurePosixPath(s.folder).name)}]({above}{s.folder}) `{s.id[:12]}`" for s in own]
        yield "Records: " + ", ".join(listed) + "."


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def links(published: Published) -> Mapping[tuple[str, str, str], str]:
    """Page of each board by data set, split and kind."""
    kinds = [(b, "prediction") for b in published.boards] + [(b, "identification") for b in published.codes]
    return {(b.dataset, b.split, kind): page_of(b) for b, kind in kinds}
