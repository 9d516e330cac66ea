"""A model on a board in a real browser: conditions from worst to best, and the scatter of each."""

from __future__ import annotations

import json

import pytest

BOARD, MODEL = "norman-mini--doubles", "ridge"
PEARSON = "pearson_delta@all~ctrl"


@pytest.fixture
def file(site):
    """What lies in the data file of the model."""
    text = (site[0] / "data" / "model" / BOARD / f"{MODEL}.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix(f'pbench.put("model/{BOARD}/{MODEL}",').removesuffix(");\n"))


def address(condition=None, metric=PEARSON):
    place = "" if condition is None else f"/{condition}"
    return f"#/board/{BOARD}/model/{MODEL}{place}?metric={metric.replace('@', '%40')}"


def listed(page):
    return page.run("return [...document.querySelectorAll('table.conditions tbody tr a')].map(a => Number(a.dataset.index))")


def drawn(page):
    page.until("return document.querySelector('.plot.square').dataset.drawn === 'yes'")
    return page.run(
        "return document.querySelector('.plot.square').data.flatMap(t => t.x.map((x, i) => [t.customdata[i], x, t.y[i], t.name]))"
    )


def test_conditions_from_worst_to_best(page, file, site):
    page.open(address())
    values = {i: v for i, v in zip(file["conditions"], file["values"][PEARSON], strict=True) if v is not None}
    order = listed(page)
    assert order[: len(values)] == sorted(values, key=values.get)
    # What the model did not answer stands at the end.
    assert len(order) == len(file["conditions"]) > len(values)
    worst = order[0]
    assert page.run("return document.querySelector('a[aria-current=true]').dataset.index") == str(worst)
    assert page.find("#condition").text == site[1][BOARD]["conditions"][worst]["label"]
    page.find("table.conditions thead th:nth-child(2) button").click()
    assert listed(page)[: len(values)] == sorted(values, key=values.get, reverse=True)
    # Down is better for the other one.
    page.open(address(metric="l2@all"), fresh=False)
    values = {i: v for i, v in zip(file["conditions"], file["values"]["l2@all"], strict=True) if v is not None}
    assert listed(page)[: len(values)] == sorted(values, key=values.get, reverse=True)


def test_the_scatter_holds_the_shifts_of_the_file(page, file):
    page.open(address(7))
    shift = file["shifts"]["7"]
    want = {
        file["genes"][g]: (t, p, "right direction" if (t > 0) == (p > 0) else "wrong direction")
        for g, t, p in zip(shift["g"], shift["t"], shift["p"], strict=True)
    }
    assert {name: (x, y, side) for name, x, y, side in drawn(page)} == want
    labels = [
        t for t in page.run("return [...document.querySelectorAll('.plot.square .textpoint')].map(t => t.textContent)") if t
    ]
    assert 4 <= len(labels) <= 16 and set(labels) <= set(want)
    # The same numbers without the picture.
    page.run("document.querySelector('.focus details').open = true")
    rows = page.run("return [...document.querySelectorAll('.focus details tbody tr')].map(r => r.cells[0].innerText)")
    assert rows == [file["genes"][g] for g in shift["g"]]


def test_a_click_opens_another_perturbation_and_back_returns(page, site):
    conditions = site[1][BOARD]["conditions"]
    page.open(address(7))
    before = drawn(page)
    page.run("window.kept = true; document.querySelector('table.conditions a[data-index=\"3\"]').click()")
    page.until("return document.getElementById('condition').innerText === arguments[0]", conditions[3]["label"])
    page.until(
        "return JSON.stringify(document.querySelector('.plot.square').data[0].x) !== arguments[0]",
        json.dumps([b[1] for b in before]),
    )
    assert drawn(page) != before
    assert "/ridge/3?" in page.run("return location.hash")
    # The list was not built again.
    assert page.run("return window.kept") is True
    page.driver.back()
    page.until("return document.getElementById('condition').innerText === arguments[0]", conditions[7]["label"])


def test_a_click_on_a_dot_opens_its_perturbation(page):
    page.open(address(7))
    page.until("return document.querySelector('.plot.low').dataset.drawn === 'yes'")
    page.run(
        """const node = document.querySelector('.plot.low');
        node.emit('plotly_click', {points: [{pointIndex: 4, pointNumber: 4}]});"""
    )
    page.until("return document.querySelector('a[aria-current=true]')?.dataset.index === arguments[0]", str(listed(page)[4]))


def test_another_model_beside_it(page):
    page.open(address())
    assert page.texts("table.conditions thead th")[2] == "additive"
    page.run("const s = document.querySelectorAll('.tools select')[1]; s.value = 'cpa'; s.dispatchEvent(new Event('change'))")
    page.until("return document.querySelectorAll('table.conditions thead th')[2]?.innerText === 'cpa'")
    ahead = page.run(
        "return [...document.querySelectorAll('table.conditions tbody tr')].slice(0, 10).map(r => [...r.cells].slice(1).map(c => c.innerText))"
    )
    for own, other, diff in ahead:
        own, other, d = (float(x.replace("−", "-").split(" ")[-1]) for x in (own, other, diff))
        assert d == pytest.approx(own - other, abs=0.011)
        assert ("▲" in diff) == (d > 0) or d == 0


def test_what_was_not_answered_has_no_scatter_and_says_so(page, file):
    page.open(address(23))
    assert "23" not in file["shifts"]
    assert "did not answer" in page.find(".focus").text
    assert not page.find(".plot.square").is_displayed()


def test_boards_of_a_model_and_history(page):
    page.open("#/model/gears")
    assert "GO graph, co-expression" in page.find(".lead").text
    assert len(page.all("tbody tr")) == 3
    page.find("tbody td a").click()
    page.until("return location.hash.endsWith('/model/gears') && document.documentElement.dataset.ready === location.hash")
    page.open("#/history", fresh=False)
    page.until("return document.querySelector('.plot').dataset.drawn === 'yes'")
    assert page.run("return document.querySelector('.plot').data.map(t => [t.name, t.x.length])") == [
        ["additive", 2],
        ["gears", 2],
        ["cpa", 2],
    ]
