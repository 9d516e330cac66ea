"""Pages of reference: true to the objects that they describe, complete, the same every time, and safe whatever a plugin says."""

from __future__ import annotations

import re
import runpy
import shlex
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

import pbench
from pbench.bench.cli import docstrings, page_text
from pbench.bench.cli.main import cli
from pbench.bench.cli.pages import pages, reference, rewrite, site_pages
from pbench.bench.contracts import registry
from pbench.bench.contracts.metric import MetricInfo
from pbench.bench.contracts.model import Model, parameters
from pbench.bench.contracts.screen import Dataset, DatasetCard
from pbench.bench.engine.check import check_model
from pbench.leaderboards.slugs import slug

ROOT = Path(pbench.__file__).parent
DOCS = ROOT / "docs"
EVIL = (
    "<script>alert(1)</script> {raw}`x` ```{raw} html\n<b>``` [a](javascript:x) | ~ $x$ {{ y }} &lt;\n\n# not a heading\n- no\r%"
)


def test_the_parser_would_notice():
    assert strange("# a\n\n{raw}`x`\n\n% gone") != [] and strange("# a\n\n{math}`x`") != []
    assert strange("# a\n\nplain text") == []


def parsed(text):
    """Tokens of commonmark with tables, with HTML let through: whatever is markup shows itself."""
    out = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        out += [token, *(token.children or ())]
    return out


@pytest.fixture
def plugins(monkeypatch):
    """Registries that forget what a test adds."""
    for entries in registry.REGISTRIES.values():
        entries.entries()
        for name in ("_entries", "_objects", "broken"):
            monkeypatch.setattr(entries, name, dict(getattr(entries, name)))
    return registry


def test_everything_that_is_registered_has_a_page_and_the_list_leads_to_it():
    for kind, entries in registry.REGISTRIES.items():
        found = pages(kind)
        links = re.findall(r"\]\(([^)]+\.md)\)", found["index.md"])
        assert sorted(links) == sorted(set(found) - {"index.md"})
        assert len(links) == len(entries.names()), kind
        assert "Not readable" not in found["index.md"]


def test_pages_are_a_pure_function_of_what_is_registered():
    assert site_pages() == site_pages()
    assert set(reference()) < set(site_pages())


def test_a_page_says_what_the_objects_say():
    cpa = pages("models")["cpa.md"]
    model = registry.models.get("cpa")
    for name, default in parameters(model).items():
        assert f"| `{name}` " in cpa and f"`{default!r}`" in cpa
    assert all(f"`{value!r}`" in cpa for value in model.presets["paper"].values())
    norman = pages("datasets")["norman-mini.md"]
    card = registry.datasets.get("norman-mini").card
    assert card.sha256 in norman and card.licence in norman and "3,375" in norman and "pbench fetch norman-mini" in norman
    assert card.known_defects[0] in norman.replace("\\", "")
    assert "**yes" not in norman and "**yes" in pages("datasets")["norman-sim.md"]
    l2 = pages("metrics")[f"{slug('l2@all')}.md"]
    assert "↓ lower is better" in l2 and "0 to ∞" in l2
    assert "62 of the 124" in pages("splits")["doubles.md"]


def test_all_parameters_of_models_and_splits_are_explained():
    silent = []
    for kind in ("models", "splits"):
        for name, text in pages(kind).items():
            table = text.partition("## Parameters")[2]
            silent += [f"{kind}/{name}: {row}" for row in table.splitlines() if re.match(r"\| `\w+` .*\|\s+\|$", row)]
    assert silent == []


def test_no_text_of_a_plugin_becomes_markup(plugins):
    class Evil(Model):
        reference = EVIL
        presets = {EVIL: {"x": EVIL}}

        def __init__(self, *, x=EVIL):
            self.x = x

    Evil.__doc__ = f"{EVIL}\n\n:math:`<b>` ``{EVIL}``\n\n>>> {EVIL}\n\nParameters\n----------\nx\n    {EVIL}"
    plugins.models.add("evil`<i>`\r#|", Evil, summary=EVIL, origin=EVIL)
    card = DatasetCard(
        EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, citation=EVIL, sha256=EVIL, known_defects=(EVIL,), feature_selection=EVIL
    )
    plugins.datasets.add("evil-data", Dataset(card, lambda: "", lambda: None, file=EVIL, parameters={EVIL: EVIL}), summary=EVIL)
    plugins.metrics.add(
        "evil-metric", MetricInfo(EVIL, 1, EVIL, 0, 1, 1, print, EVIL, EVIL, EVIL, (EVIL,), caveats=EVIL), summary=EVIL
    )

    def split(screen, *, data_id, x=EVIL):
        return ()

    split.__doc__ = Evil.__doc__ + f"\n\nRaises\n------\n{EVIL}\n\nReferences\n----------\n{EVIL}"
    plugins.splits.add("evil-split", split, summary=EVIL)
    seen = 0
    for kind in plugins.REGISTRIES:
        for name, text in pages(kind).items():
            if "evil" in name or name == "index.md":
                seen += "evil" in name
                body = text.removeprefix("---\norphan: true\n---\n")
                tokens = parsed(body)
                assert [t for t in tokens if t.type in ("html_block", "html_inline", "image")] == [], name
                assert not [t.attrGet("href") for t in tokens if t.type == "link_open" and "javascript" in str(t.attrGet("href"))]
                headings = [t for t in tokens if t.type == "heading_open" and t.tag == "h1"]
                assert len(headings) == 1, name
                assert {t.info for t in tokens if t.type == "fence"} <= {"sh", "text", "python"}
                assert strange(body) == [], name
    assert seen == 4


def strange(text):
    """What the parser of the documentation makes of a page beside text: raw output, formulas, complaints."""
    pytest.importorskip("myst_parser")
    from docutils import nodes
    from docutils.core import publish_doctree
    from myst_parser.parsers.docutils_ import Parser

    settings = {
        "report_level": 5,
        "myst_disable_syntax": ["html_block", "html_inline"],
        "myst_suppress_warnings": ["myst.xref_missing"],
    }
    # Pages that a link leads to are not at hand here.
    text = re.sub(r"\]\([\w./-]+\.md\)", "](https://example.org)", text)
    tree = publish_doctree(text, parser=Parser(), settings_overrides=settings)
    kinds = (nodes.raw, nodes.math, nodes.math_block, nodes.system_message, nodes.problematic, nodes.image, nodes.comment)
    return [node for kind in kinds for node in tree.findall(kind)]


def test_what_cannot_be_described_is_named_and_the_rest_is_written(plugins):
    plugins.models.add("odd", 3)
    plugins.splits.add("no-function", object())
    plugins.splits._entries["gone"] = registry.Entry("gone", "no_such_module:thing", "", "some package 1.0")
    found = pages("splits")
    assert "gone.md" not in found and "no-function.md" not in found
    assert "Not readable" in found["index.md"] and "no\\_such\\_module" in found["index.md"]
    assert "doubles.md" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100 cells", "100 cells"),
        ("1. one", "1\\. one"),
        ("- item", "\\- item"),
        ("a - b", "a - b"),
        ("% comment", "\\% comment"),
        ("(target)=", "\\(target)="),
        ("a_b {x} | <y>", "a\\_b \\{x\\} \\| &lt;y&gt;"),
        ("two\nlines", "two lines"),
    ],
)
def test_plain_text_stays_text(text, expected):
    assert page_text.plain(text) == expected


def test_code_shows_any_text():
    for text in ("a", "`", "``", "a`b``c", "<b>", "{raw}"):
        [inline] = MarkdownIt("commonmark").parse(page_text.code(text))[1:2]
        assert [(t.type, t.content) for t in inline.children if t.content] == [("code_inline", text)]
    assert page_text.code("") == "–" and page_text.code("a|b") == "`a\\|b`"


def test_a_docstring_is_taken_apart():
    def function():
        """Do it
        well.

        More of ``it``.

        Parameters
        ----------
        a, b
            Two
            things.
        c : int
            One.

        Raises
        ------
        ValueError
            Never.
        """

    said = docstrings.read(function)
    assert said.summary == "Do it well." and said.body == ("More of ``it``.",)
    assert said.parameter("b") == "Two things." and said.parameter("c") == "One." and said.parameter("d") == ""
    assert said.sections == {"Raises": ("ValueError\n    Never.",)}
    assert docstrings.read(object()).parameters == {} and docstrings.read(3).summary is not None


def test_pages_that_did_not_change_are_not_touched_and_old_ones_go(tmp_path):
    rewrite({"a.md": "1", "b/c.md": "2"}, tmp_path)
    before = (tmp_path / "a.md").stat().st_mtime_ns
    (tmp_path / "stale.md").write_text("old")
    (tmp_path / "kept.txt").write_text("no page")
    rewrite({"a.md": "1", "b/c.md": "3"}, tmp_path)
    assert (tmp_path / "a.md").stat().st_mtime_ns == before
    assert (tmp_path / "b" / "c.md").read_text() == "3"
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["a.md", "c.md", "kept.txt"]


@pytest.mark.parametrize("kind", ["splits", None])
def test_the_command_writes_the_same_pages(tmp_path, kind):
    words = ["list", *([kind] if kind else []), "--write", str(tmp_path)]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert done.exception is None
    expected = pages(kind) if kind else reference()
    assert {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*.md")} == expected


def test_formulas_of_the_pages_are_set_without_a_script():
    pytest.importorskip("sphinx")
    settings = runpy.run_path(str(DOCS / "conf.py"))
    formulas = [
        f
        for text in reference().values()
        for f in re.findall(r"\{math\}`([^`]+)`|```\{math\}\n(.*?)\n```", text, flags=re.DOTALL)
    ]
    assert len(formulas) > 10
    for inline, block in formulas:
        assert settings["mathml"](inline or block, block=not inline).startswith("<math")
    assert settings["mathml"](r"\nonsense<b>", block=False) == r"<code>\nonsense&lt;b&gt;</code>"


def test_a_page_that_loads_from_another_host_ends_the_build(tmp_path):
    errors = pytest.importorskip("sphinx.errors")
    check = runpy.run_path(str(DOCS / "conf.py"))["no_other_host"]
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    page = tmp_path / "a.html"
    page.write_text('<a href="https://example.org">a link may leave</a><script src="own.js"></script><link href="own.css">')
    check(app, None)
    for bad in (
        '<script defer src="https://x.org/a.js">',
        "<link rel='stylesheet' href='//x.org/a.css'>",
        '<img src="http://x.org/p.png">',
    ):
        page.write_text(bad)
        with pytest.raises(errors.ExtensionError, match="another host"):
            check(app, None)


WRITTEN = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(p for p in DOCS.rglob("*.md") if "reference" not in p.parts)])


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_to_files_and_headings_lead_somewhere(path):
    generated = {(DOCS / "reference" / name).resolve() for name in once()}
    dead = []
    for link in re.findall(r"(?<!\!)\]\(<?([^)\s>]+)>?\)", path.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() and file not in generated:
            dead.append(link)
        elif anchor and file.suffix == ".md" and file.exists() and anchor not in anchors(file.read_text()):
            dead.append(link)
    assert dead == []


@cache
def once():
    return {**reference(), "commands.md": "", "defects.md": ""}


def anchors(text):
    """Anchors of headings, as code hosts and the build of the documentation name them."""
    lines = re.findall(r"(?m)^#{1,6} (.+)$", re.sub(r"(?ms)^```.*?^```", "", text))
    plain = (re.sub(r"[`*]|\\", "", line).strip().lower() for line in lines)
    return {re.sub(r"[^\w\- ]", "", line).replace(" ", "-") for line in plain}


def lines_of_code(text):
    indented = re.findall(r"(?m)^    (?! )(.+)$", text)
    fenced = [line for block in re.findall(r"(?ms)^```(?:sh|bash|console|text)?\n(.*?)^```", text) for line in block.splitlines()]
    return [line.strip() for line in indented + fenced]


COMMANDS = [
    pytest.param(line, id=f"{path.name}:{line[:60]}")
    for path in WRITTEN
    if path.is_relative_to(DOCS)
    for line in lines_of_code(path.read_text())
    if line.startswith("pbench ") and "…" not in line and "$" not in line
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_documentation_parses(line):
    for part in shlex.join(shlex.split(line, comments=True)).split(" '&&' "):
        words = shlex.split(part)
        if words and words[0] == "pbench" and words[1:]:
            command = cli.get_command(click.Context(cli), words[1])
            assert command is not None, line
            command.make_context(words[1], words[2:])


def test_the_model_of_the_five_minute_start_passes_every_check():
    code = re.search(r"```python\n(.*?)```", (DOCS / "start.md").read_text(), flags=re.DOTALL)
    assert code is not None and len(code[1].splitlines()) <= 30
    scope: dict = {"__name__": "start"}
    exec(code[1], scope)
    assert [v for v in check_model(scope["HalfAdditive"]) if not v.passed] == []


def test_public_names_are_in_the_reference_of_the_api():
    text = (DOCS / "api.md").read_text()
    assert [name for name in pbench.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)] == []
