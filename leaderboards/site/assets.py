"""The page itself: our templates, and the table and plotting libraries out of the packages that ship them.

DataTables (MIT) comes with itables, plotly.js (MIT) with plotly. Both are copied into the folder, so that the page asks no
other host for anything, and neither is kept in this repository.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from ...bench.contracts.errors import DataError, MissingDependency

TEMPLATES = Path(__file__).parent / "templates"
#: What itables gives: one module, its names at the end; and the name by which the page asks for the table.
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\}\s*;?")
_DEFAULT = re.compile(r"([\w$]+)\s+as\s+default\b")


def write_assets(folder: Path) -> None:
    """Write ``index.html`` and ``assets/``: our own files, ``datatables.js`` and ``plotly.js``.

    Files of the same names are replaced, others are left alone. The bytes depend on the installed packages only.

    Raises
    ------
    MissingDependency
        itables or plotly is not installed.
    DataError
        A package does not hold the file that it used to.
    """
    tables, plots = _package("itables"), _package("plotly")
    assets = folder / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    for source in sorted(TEMPLATES.iterdir()):
        target = folder if source.suffix == ".html" else assets
        if source.suffix in (".html", ".js", ".css"):
            (target / source.name).write_bytes(source.read_bytes())
    (assets / "datatables.js").write_bytes(classic(_text(tables / "html" / "dt_bundle.js")).encode())
    (assets / "plotly.js").write_bytes(_text(plots / "package_data" / "plotly.min.js").encode())


def classic(module: str) -> str:
    """A module as a classic script that leaves its default export in ``window.DataTable``.

    A browser does not load modules from ``file://``: each file there is an origin of its own.

    >>> classic("var a = 1; export {a as default, b as other}; // b").splitlines()[1]
    'var a = 1; window.DataTable = a; // b'
    """
    found = list(_EXPORTS.finditer(module))
    name = _DEFAULT.search(found[-1].group(1)) if found else None
    if name is None or re.search(r"\bimport\s*(\.meta|[({*\"'])", module):
        raise DataError(
            "the DataTables file of the installed itables has another form than is known here. Type: pip install 'pbench[site]'"
        )
    start, end = found[-1].span()
    return f'(() => {{"use strict";\n{module[:start]}window.DataTable = {name.group(1)};{module[end:]}\n}})();\n'


def _package(name: str) -> Path:
    """The folder of an installed package; it is not imported, as that takes seconds."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(name, extra="site", purpose="the static site")
    return Path(next(iter(spec.submodule_search_locations)))


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"the installed package '{path.parts[-3]}' has no {path.name}. Type: pip install 'pbench[site]'")
    return path.read_text(encoding="utf-8")
