"""What the data side writes is what the page reads: a site of records, opened in a real browser."""

from __future__ import annotations

import re

import pytest
from browser import Page
from synthetic_records import synthetic_published

from pbench.leaderboards.site.build import build

BOARD = "norman-mini--doubles"
#: A board, one whose primary metric is grey, codes, models with and without all answers, a perturbation, and the rest.
ADDRESSES = (
    "#/",
    f"#/board/{BOARD}",
    "#/board/papalexi-mini--unseen-single",
    "#/board/norman-sim--units--identification",
    f"#/board/{BOARD}/model/gears",
    f"#/board/{BOARD}/model/additive",
    f"#/board/{BOARD}/model/train-mean/3",
    "#/model/gears",
    "#/history",
    "#/about",
)


@pytest.fixture(scope="module")
def opened(driver, tmp_path_factory):
    pytest.importorskip("itables", reason="the packages of pbench[site] are not installed")
    pytest.importorskip("plotly", reason="the packages of pbench[site] are not installed")
    names = ["gears", "cpa", "scgen", "knn-go", "additive", "ridge-go"]
    folder = tmp_path_factory.mktemp("opened") / "site"
    build(synthetic_published(8, 4, 16, n_seeds=2, n_genes=5, names=names), folder)
    return Page(driver, folder)


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_page_opens_and_shows_no_trace_of_what_is_missing(opened, address):
    opened.open(address)
    text = opened.run("return document.body.innerText")
    opened.gather()
    assert opened.errors == [] and opened.foreign() == []
    assert len(text) > 300
    assert re.findall(r"\b(undefined|null|NaN|\[object Object\])\b", text) == []


def test_the_table_shows_the_means_of_the_board(opened):
    opened.open(f"#/board/{BOARD}")
    rows = opened.texts(".table-slot tbody tr")
    assert len(rows) >= 8 + 3
    assert any(row.startswith("gears") for row in rows)
