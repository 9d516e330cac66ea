"""The site of the published boards: a folder that a browser opens, from a disk or from a server, without asking anybody else."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ...bench.contracts.errors import DataError
from ..published import Published
from ..slugs import slug
from .addresses import address
from .assets import write_assets
from .board_data import board_data
from .codes_data import codes_data
from .folder import Folder
from .index_data import index_data
from .measured import cards_of, measured
from .model_data import Shifts, model_data, with_values
from .script import script


def build(published: Published, folder: Path) -> None:
    """Write the site; the same bytes for the same records and installed packages.

    Data are scripts that call ``pbench.put(name, content)``: ``data/index.js``, ``data/board/<board>.js`` and, for every model with
    values by condition, ``data/model/<board>/<model>.js``. A page loads them when it needs them, also from a disk.

    Parameters
    ----------
    folder
        Absent, empty, or the site of an earlier build, of which files that no longer belong to it are removed.

    Raises
    ------
    UsageError
        The folder holds something else.
    MissingDependency
        A package that ships the table or the plotting library is not installed.
    """
    site = Folder(folder)
    with TemporaryDirectory() as made:
        write_assets(Path(made))
        assets = {p.relative_to(made).as_posix(): p.read_bytes() for p in sorted(Path(made).rglob("*")) if p.is_file()}
    names = [_file("board", address(b)) for b in (*published.boards, *published.codes)]
    models = sorted({x.model for b in published.boards for x in (*b.lines, *b.gamers)} | {c["model"] for c in published.cards})
    for given, kind in ((names, "boards"), ([slug(m) for m in models], "models")):
        if len(set(given)) != len(given):
            raise DataError(f"two {kind} have the same address on the site; rename one of them.")
    site.expect([*assets, "data/index.js", *names, *_model_files(published)])
    for name, content in assets.items():
        site.write(name, content)
    _put(site, "index", index_data(published))
    shifts = Shifts(published.shifts)
    for board, behind in measured(published):
        words = published.words.get((board.dataset, board.split))
        models = with_values(board, behind)
        _put(site, f"board/{address(board)}", board_data(board, behind, published.metrics, words, models))
        for model, content in model_data(board, behind, shifts, models):
            _put(site, f"model/{address(board)}/{slug(model)}", content)
    for board in published.codes:
        words = published.words.get((board.dataset, board.split))
        own = cards_of(board, published.cards)
        _put(site, f"board/{address(board)}", codes_data(board, own, published.metrics, words))
    site.close()


def _file(*parts: str) -> str:
    return f"data/{'/'.join(parts)}.js"


def _model_files(published: Published) -> list[str]:
    return [_file("model", address(b), slug(x.model)) for b in published.boards for x in (*b.lines, *b.gamers)]


def _put(site: Folder, key: str, content: object) -> None:
    site.write(_file(key), script(key, content).encode("ascii"))
