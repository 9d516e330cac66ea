"""How the documentation is built: sphinx-build -W --keep-going -b html docs build/docs. No request goes to any other host."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from sphinx.errors import ExtensionError
from sphinx.util import logging

import pbench

HERE = Path(__file__).parent

project = "pbench"
author = "The pbench authors"
copyright = "The pbench authors"
release = version = pbench.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
master_doc = root_doc = "index"
needs_sphinx = "8.2"

# Text of plugins is escaped when pages are written; that no page can hold HTML is the second wall.
myst_disable_syntax = ["html_block", "html_inline"]
myst_heading_anchors = 3

# Single backticks in docstrings are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
viewcode_follow_imported_members = True

html_theme = "furo"
html_title = f"pbench {version}"
html_static_path = ["_static"]
html_css_files = ["pbench.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_math_renderer = "mathml"
pygments_style = "friendly"
pygments_dark_style = "monokai"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7cc0ea", "color-brand-content": "#7cc0ea"},
    "footer_icons": [],
}


def reference_pages(app: Any, config: Any) -> None:
    """Write a page for every model, data set, split and metric, so that none can go stale."""
    from pbench.bench.cli.pages import rewrite, site_pages

    rewrite(site_pages(), HERE / "reference")


def families_of_metrics(app: Any, docname: str, source: list[str]) -> None:
    """Pages of the families of metrics are found through their index, not through the contents of the site."""
    if docname.startswith("metrics/") and docname != "metrics/README":
        source[0] = f"---\norphan: true\n---\n\n{source[0]}"


def mathml(formula: str, *, block: bool) -> str:
    """A formula as MathML, which every browser sets by itself: no script, no font, no other host."""
    from docutils.utils.math import MathError, latex2mathml

    known = re.sub(r"\\(?:[bB]igg?|textstyle)(?![a-zA-Z])", "", formula).replace(r"\tfrac", r"\frac")
    try:
        return str(latex2mathml.tex2mathml(known, as_block=block))
    except (MathError, AttributeError, IndexError) as error:
        logging.getLogger(__name__).warning("the formula %r cannot be set: %s", formula, error)
        return f"<code>{html.escape(formula)}</code>"


def no_other_host(app: Any, exception: Exception | None) -> None:
    """End the build where a page would load anything from another host."""
    if exception is None and app.builder.format == "html":
        loaded = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*\s(?:src|href)=["'](?:https?:)?//[^"']*""")
        for page in sorted(Path(app.outdir).rglob("*.html")):
            if found := loaded.search(page.read_text(encoding="utf-8")):
                raise ExtensionError(f"{page} loads something from another host: {found[0]}")


def inline_formula(translator: Any, node: Any) -> None:
    from docutils import nodes

    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def display_formula(translator: Any, node: Any) -> None:
    from docutils import nodes

    translator.body.append(f'<div class="math">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    app.connect("config-inited", reference_pages)
    app.connect("source-read", families_of_metrics)
    app.connect("build-finished", no_other_host)
    app.add_html_math_renderer("mathml", (inline_formula, None), (display_formula, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
