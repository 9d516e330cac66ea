"""One nasty text as the name of a file, a gene, a perturbation and a context, through a whole run: no output lets it be more than text."""

from __future__ import annotations

import html.parser
import json
import re
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

NASTY = "a|b`c`\n# x\t<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\x07&amp;*_~[x](y)\\ '\"\u202e"
#: A file name holds no slash.
NAME = NASTY.replace("/", "")


@pytest.fixture(scope="module")
def done(tmp_path_factory, pbench):
    """The folder of a run, a bundle and a published site of a data set whose names are all nasty, and what was printed."""
    root = tmp_path_factory.mktemp("nasty")
    rng = np.random.default_rng(0)
    targets = [f"{NASTY}{i}" for i in range(8)]
    labels = np.repeat(["control", *targets], [60] + [16] * 8)
    rate = np.full((len(labels), 20), 4.0)
    for i, target in enumerate(targets):
        rate[labels == target, i] += 12
    obs = pd.DataFrame({"perturbation": labels, "context": NASTY}, index=[f"c{i}" for i in range(len(labels))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = anndata.AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs)
        adata.var_names = [*targets, *(f"{NASTY}g{i}" for i in range(12))]
        path = root / f"{NAME}.h5ad"
        adata.write_h5ad(path)
    file = ("--scale", "counts", "--context-key", "context", "--separator", "none")
    printed = {}

    def call(title, *arguments, code=0):
        found = pbench(*arguments, cwd=root)
        assert found.returncode == code, (arguments, found.stdout[-1000:], found.stderr[-3000:])
        printed[title] = found.stdout + found.stderr

    call(
        "run",
        "run",
        "--dataset",
        path,
        *file,
        "--models",
        "train-mean,additive",
        "--split",
        "unseen-single",
        "--metrics",
        "headline",
    )
    call(
        "json",
        "run",
        "--dataset",
        path,
        *file,
        "--models",
        "additive",
        "--split",
        "unseen-single",
        "--metrics",
        "headline",
        "--json",
    )
    call("board", "leaderboard", "--results", "results")
    call("submit", "submit", "records/d/s/n", "--results", "results", "--data", path, *file)
    call("verify", "verify", "records", "--no-rescore")
    call("publish", "publish", ".", "--out", "out", "--site", "site")
    call("split", "show", "unseen-single", "--dataset", path, *file)
    call("audit", "audit", "unseen-single", "--dataset", path, *file)
    call("unknown", "run", "--dataset", path, "--scale", "counts", "--perturbation-key", NASTY, code=3)
    call("absent", "show", NASTY, code=2)
    return root, printed


def test_nothing_that_is_printed_steers_a_terminal(done):
    for title, text in done[1].items():
        steering = [c for c in text if not c.isprintable() and c not in "\n\t"]
        assert not steering, (title, steering)
    assert len(done[1]["unknown"].splitlines()) == 3, "two phases and the error"
    json.loads(done[1]["json"][: done[1]["json"].rindex("}") + 1])


def markdowns(root):
    return list(root.rglob("*.md"))


def test_tables_stay_tables_and_no_markup_comes_of_names(done):
    found = markdowns(done[0])
    assert {"leaderboard.md"} < {p.name for p in found}
    told = 0
    for path in found:
        text = path.read_text(encoding="utf-8")
        told += "alert" in text
        assert "<script" not in text and "<img" not in text and "\x1b" not in text and "\u202e" not in text, path
        assert not re.search(r"(?<!\\)\[x(?<!\\)\]\(y\)", text), path
        assert "\n# x" not in text
        lines = text.splitlines()
        for i, line in enumerate(lines):
            if line.startswith("|"):
                first = i
                while first and lines[first - 1].startswith("|"):
                    first -= 1
                assert _cells(line) == _cells(lines[first]), (path, line)
    assert told


def _cells(line):
    return len(re.findall(r"(?<!\\)\|", line))


class Elements(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_the_site_has_no_element_or_script_of_a_name(done):
    root = done[0] / "site"
    pages = list(root.rglob("*.html"))
    assert pages
    for page in pages:
        elements = Elements()
        elements.feed(page.read_text(encoding="utf-8"))
        assert "img" not in elements.found and not any(a.startswith("on") for a in elements.attributes), page
        assert NASTY not in page.read_text(encoding="utf-8")
    scripts = [p for p in (root / "data").rglob("*") if p.is_file()]
    assert scripts
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        assert text.isascii() and "<" not in text and "\x1b" not in text, path
    assert any("alert" in p.read_text() for p in scripts)


def test_names_of_files_are_plain(done):
    made = [p.relative_to(done[0]) for part in ("results", "records", "out", "site") for p in (done[0] / part).rglob("*")]
    assert made and all(re.fullmatch(r"[A-Za-z0-9._+/-]+", str(p)) for p in made), [
        str(p) for p in made if not re.fullmatch(r"[A-Za-z0-9._+/-]+", str(p))
    ]
