"""The page over what the records themselves become: every address of a built site opens, and shows what its data file says."""

from __future__ import annotations

import json
import re

import pytest
from browser import Page
from synthetic_records import published, synthetic_records

from pbench.leaderboards.site.build import build

NAMES = ["additive", "knn-pca", "<img src=x onerror=alert(1)>", "ridge", "a|b\u2028c", "__proto__"]


def read(folder, key):
    text = (folder / "data" / f"{key}.js").read_text(encoding="ascii")
    body = re.fullmatch(r"pbench\.put\(\"[^\"]*\", ?(.*)\);\n", text, re.DOTALL)[1]
    return json.loads(body.replace('["__proto__"]:', '"__proto__":'))


@pytest.fixture(scope="module")
def built(tmp_path_factory, driver):
    for package in ("itables", "plotly"):
        pytest.importorskip(package, reason="the packages of pbench[site] are not installed")
    folder = tmp_path_factory.mktemp("built") / "site"
    build(published(synthetic_records(len(NAMES) + 2, 2, 10, n_seeds=2, n_genes=4, names=NAMES)), folder)
    return folder


def test_every_board_and_a_model_of_each(driver, built):
    page = Page(driver, built)
    index = read(built, "index")
    page.open("#/")
    assert len(page.texts(".card")) == len(index["boards"])
    for listed in index["boards"]:
        board = read(built, f"board/{listed['slug']}")
        page.open(f"#/board/{listed['slug']}")
        shown = [x["model"] for x in board["lines"] if x["kind"] != "gaming"]
        names = page.run(
            "return [...document.querySelectorAll('table.board')[0].tBodies[0].rows].map(r => r.cells[0].firstChild.textContent)"
        )
        assert sorted(names) == sorted(shown)
        if board["kind"] == "identification":
            continue
        # Reference rows come last, and every mean is drawn where the file has one.
        assert {x["kind"] for x in board["lines"] if x["model"] in names[-2:]} == {"reference"}
        defined = sum(
            (x["cells"].get(m) or {}).get("mean") is not None
            for x in board["lines"]
            if x["kind"] != "gaming"
            for m in board["headline"]
        )
        assert page.run("return document.querySelectorAll('.table-slot td.num .n').length") >= defined
        detailed = [x for x in board["lines"] if x["detail"] and x["kind"] != "gaming"]
        for x in detailed[:2] + [x for x in detailed if x["model"] in NAMES[2:]][:2]:
            file = read(built, f"model/{listed['slug']}/{x['slug']}")
            page.open(f"#/board/{listed['slug']}/model/{x['slug']}", fresh=False)
            assert page.find("h1").text.split() == x["model"].split()
            rows = page.run("return [...document.querySelectorAll('table.conditions tbody a')].map(a => Number(a.dataset.index))")
            assert sorted(rows) == file["conditions"]
            if file["shifts"]:
                page.until("return document.querySelector('.plot.square').dataset.drawn === 'yes'")
                assert page.run("return document.querySelectorAll('.plot.square .scatterlayer .point').length") > 0
    for address in [f"#/model/{index['models'][0]['slug']}", "#/history", "#/about"]:
        page.open(address, fresh=False)
        assert page.find("h1").text != "Nothing to show"
    page.gather()
    assert page.errors == [] and page.foreign() == []
