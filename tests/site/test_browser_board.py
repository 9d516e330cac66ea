"""The table of a board in a real browser: it sorts, filters, greys, draws, and opens what was clicked."""

from __future__ import annotations

import pytest
from site_folder import GREY, REASON

BOARD = "norman-mini--doubles"
ADDRESS = f"#/board/{BOARD}"
L2, PEARSON = "l2@all", "pearson_delta@all~ctrl"
TABLE = ".table-slot table"
#: Of all shown rows the name of the model and the text of one column.
COLUMN = f"""
const at = [...document.querySelectorAll('{TABLE} thead th')].findIndex(th => th.innerText.replace(/\\s/g, '').startsWith(arguments[0]));
return [...document.querySelectorAll('{TABLE} tbody tr')].map(tr =>
  [tr.cells[0].querySelector('a, span').innerText, tr.cells[at].querySelector('.n')?.firstChild.data ?? tr.cells[at].innerText.trim()]);
"""


@pytest.fixture
def board(site):
    return site[1][BOARD]


def head(page, text):
    """The button in the head of a column."""
    return next(b for b in page.all(f"{TABLE} thead button.sort") if b.text.replace("\n", "").startswith(text))


def names(page):
    return [name for name, _ in page.run(COLUMN, "model")]


def choose(page, columns):
    page.run(
        "const s = document.querySelector('.tools select'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))", columns
    )


def by_mean(board, metric, *, up):
    """Names sorted by hand, those without a value last in the order in which they were."""
    shown = [x for x in board["lines"] if x["kind"] != "gaming"]
    there = [x for x in shown if x["cells"].get(metric, {}).get("mean") is not None]
    there.sort(key=lambda x: x["cells"][metric]["mean"], reverse=not up)
    return [x["model"] for x in there], {x["model"] for x in shown} - {x["model"] for x in there}


def test_rows_come_by_rank_with_shared_ranks_marked(page, board):
    page.open(ADDRESS)
    ranked = sorted((x for x in board["lines"] if x["rank"]), key=lambda x: x["rank"])
    shown = page.run(COLUMN, "rank")
    # The first two share rank 1.
    assert shown[: len(ranked)] == [[x["model"], f"{'=' if i < 2 else ''}{x['rank']}"] for i, x in enumerate(ranked)]
    assert {rank for _, rank in shown[len(ranked) :]} == {"–"}
    references = [x["model"] for x in board["lines"] if x["kind"] == "reference"]
    assert set(names(page)[-len(references) :]) == set(references)
    assert page.run(f"return document.querySelector('{TABLE} thead th:nth-child(2)').ariaSort") == "ascending"


def test_a_click_on_a_head_sorts_best_first_and_then_the_other_way(page, board):
    page.open(ADDRESS)
    for metric, text, up in ((L2, "l2", True), (PEARSON, "pearson_delta", False)):
        for way in (up, not up):
            head(page, text).click()
            want, without = by_mean(board, metric, up=way)
            assert names(page)[: len(want)] == want
            # What has no value stays last, whichever way.
            assert set(names(page)[len(want) :]) == without and without
            state = "ascending" if way else "descending"
            assert page.run(
                f"return [...document.querySelectorAll('{TABLE} thead [aria-sort]')].map(th => [th.innerText.trim().split(/[^a-z0-9_]/)[0], th.ariaSort])"
            ) == [[text.split("_")[0] if text == "l2" else text, state]]
            assert metric in page.find("#said").text or metric in page.run("return document.getElementById('said').textContent")


def test_a_head_is_sorted_by_keyboard(page, board):
    from selenium.webdriver.common.keys import Keys

    page.open(ADDRESS)
    button = head(page, "pearson_delta")
    page.run("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    assert names(page)[:3] == by_mean(board, PEARSON, up=False)[0][:3]
    button.send_keys(Keys.SPACE)
    assert names(page)[:3] == by_mean(board, PEARSON, up=True)[0][:3]
    # The focus stays on the button and is seen.
    assert (
        page.run("const b = document.activeElement; return b.matches('button.sort') && getComputedStyle(b).outlineStyle")
        == "solid"
    )


def test_numbers_are_those_of_the_file(page, board):
    page.open(ADDRESS)
    for x, (name, text) in zip(
        sorted((x for x in board["lines"] if x["rank"]), key=lambda x: x["rank"]), page.run(COLUMN, "l2"), strict=False
    ):
        assert name == x["model"]
        assert float(text.replace("−", "-")) == pytest.approx(x["cells"][L2]["mean"], abs=0.051)


def test_filter_and_toggles(page, board):
    page.open(ADDRESS)
    every = names(page)
    box = page.find("input[aria-label='Filter models']")
    box.send_keys("ar")
    assert names(page) == [n for n in every if "ar" in n] and 0 < len(names(page)) < len(every)
    assert page.find(".count").text == f"{len(names(page))} rows"
    box.send_keys("no such model")
    assert "Nothing matches the filter." in page.find(TABLE).text
    page.run("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", box)
    # What a model knows beforehand is found as well.
    box.send_keys("go graph")
    assert names(page) == ["gears"]
    page.run("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", box)

    page.find("#hide-references").click()
    assert names(page) == [n for n in every if n not in {x["model"] for x in board["lines"] if x["kind"] == "reference"}]
    page.find("#hide-references").click()
    assert "metric-gamer" not in every
    page.find("#show-gaming").click()
    assert names(page) == [*every, "metric-gamer"]
    choose(page, "all")
    heads = page.texts(f"{TABLE} thead th")
    assert sum(text.startswith(("energy", "slope")) for text in heads) == 2
    choose(page, "family slope")
    heads = page.texts(f"{TABLE} thead th.num")
    assert [h.split("\n")[0] for h in heads] == ["rank", "score", "slope→", "coverage", "time"]
    # The toggles that were set still hold after the columns changed.
    assert "metric-gamer" in names(page)


def test_grey_columns_say_why(page):
    page.open(ADDRESS)
    grey = page.all(f"{TABLE} thead th.grey")
    assert len(grey) == 1 and grey[0].text.startswith("de.overlap")
    mark = page.find(f"{TABLE} thead th.grey .tag")
    page.find("input[aria-label='Filter models']").click()
    page.run("arguments[0].focus({focusVisible: true})", mark)
    assert REASON in page.find("#tip").text
    assert page.run("return arguments[0].getAttribute('aria-describedby')", mark) == "tip"
    # Readable without pointing at anything.
    assert f"{GREY}: {REASON}" in page.find(".legend").text
    colours = page.run(
        f"return ['td.grey', 'td.num:not(.grey)'].map(s => getComputedStyle(document.querySelector('{TABLE} ' + s + ' .value')).color)"
    )
    assert colours[0] != colours[1]


def test_a_table_of_thousands_of_values_leaves_out_the_drawings(page, tmp_path_factory, site):
    """A board of a hundred models and many metrics can be shown whole: numbers alone, and the headline with its intervals again."""
    import shutil

    from browser import Page
    from site_folder import METRICS, write_site

    folder = tmp_path_factory.mktemp("wide")
    shutil.copytree(site[0] / "assets", folder / "assets")
    write_site(
        folder, models=60, boards=1, conditions=3, codes=False, files=0, more={f"l2@top{i}": METRICS["l2@all"] for i in range(60)}
    )
    wide = Page(page.driver, folder).open(ADDRESS)
    assert len(wide.all("svg.whisker")) > 200
    choose(wide, "all")
    assert len(wide.all(f"{TABLE} tbody tr:first-child .n")) >= 67
    assert wide.all(f"{TABLE} svg.whisker") == []
    wide.run("arguments[0].click(); arguments[0].click()", head(wide, "l2"))
    means = [float(x.replace("−", "-").rstrip("†")) for _, x in wide.run(COLUMN, "l2") if x != "–"]
    assert len(means) > 50 and means == sorted(means, reverse=True)
    choose(wide, "headline")
    assert len(wide.all(f"{TABLE} svg.whisker")) > 200


def test_absent_models_say_why(page):
    page.open(ADDRESS)
    row = page.find(f"{TABLE} tr.absent")
    assert "TrainingFailed: the loss is no number after epoch 3" in row.text
    assert row.text.count("–") >= 5


def test_intervals_are_drawn_in_their_cells_on_a_common_scale(page, board):
    """The ends of a whisker, in pixels, are a linear function of the numbers, and lie within the cell."""
    page.open(ADDRESS)
    drawn = page.run(
        f"""
        const rows = {{}};
        for (const tr of document.querySelectorAll('{TABLE} tbody tr.model:not(.absent)')) {{
          const cell = [...tr.cells].find(td => td.querySelector('svg.whisker'));
          const svg = cell.querySelector('svg.whisker');
          const mean = svg.querySelector('.mean').getBoundingClientRect();
          const range = svg.querySelector('.range').getBoundingClientRect();
          const box = cell.getBoundingClientRect();
          rows[tr.cells[0].querySelector('a').innerText] = [mean.x + mean.width / 2 - box.x, range.left - box.x, range.right - box.x, box.width,
            range.top >= box.top && range.bottom <= box.bottom];
        }}
        return rows;"""
    )
    lines = {x["model"]: x["cells"][L2] for x in board["lines"] if x["model"] in drawn}
    assert len(lines) >= 8
    first, last = min(lines, key=lambda m: lines[m]["mean"]), max(lines, key=lambda m: lines[m]["mean"])
    slope = (drawn[last][0] - drawn[first][0]) / (lines[last]["mean"] - lines[first]["mean"])
    assert slope > 3
    for name, (mean, left, right, width, within) in drawn.items():
        cell = lines[name]
        assert mean == pytest.approx(drawn[first][0] + slope * (cell["mean"] - lines[first]["mean"]), abs=0.6)
        assert left == pytest.approx(mean - slope * (cell["mean"] - cell["low"]), abs=1.2)
        assert right == pytest.approx(mean + slope * (cell["high"] - cell["mean"]), abs=1.2)
        assert within and 0 < left < right < width


def test_calibrated_bars_run_from_the_negative_control(page, board):
    page.open(ADDRESS)
    page.run("document.querySelector('#calibrated').scrollIntoView()")
    tracks = page.run(
        """return [...document.querySelectorAll('[aria-labelledby=calibrated] .bar-row:not(.ends)')].map(row => {
          const at = s => row.querySelector(s).getBoundingClientRect();
          const [bar, zero, one] = [at('.bar'), at('.control.negative'), at('.control.positive')];
          return [row.querySelector('.bar-name').firstChild.textContent, bar.left, bar.right, zero.left, one.left];
        })"""
    )
    scores = {x["model"]: x["scores"][L2]["score"] for x in board["lines"] if x["scores"]}
    for name, left, right, zero, one in tracks:
        # The track ends a quarter beyond the controls.
        score = min(max(scores[name], -0.25), 1.25)
        far = right if score > 0 else left
        assert (far - zero) / (one - zero) == pytest.approx(score, abs=0.02)
        assert (left if score > 0 else right) == pytest.approx(zero, abs=1.5)
    assert [t[0] for t in tracks] == sorted((t[0] for t in tracks), key=lambda n: -scores[n])
    page.run(
        "const s = document.querySelector('[aria-labelledby=calibrated] select'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
        GREY,
    )
    assert REASON in page.find("[aria-labelledby=calibrated]").text


def test_mean_ranks_join_what_shares_a_letter(page, board):
    page.open(ADDRESS)
    rows = page.run(
        """return [...document.querySelectorAll('.ranks .bar-row:not(.ends)')].map(row =>
          [row.querySelector('.bar-name').innerText, row.querySelector('.dot').getBoundingClientRect().x,
           [...row.querySelectorAll('.lane')].map(l => l.classList.contains('member'))])"""
    )
    ranks = {x["model"]: x["mean_rank"] for x in board["lines"] if x["mean_rank"]}
    letters = {x["model"]: x["letters"] for x in board["lines"]}
    assert [r[0] for r in rows] == sorted(ranks, key=ranks.get)
    assert [r[1] for r in rows] == sorted(r[1] for r in rows)
    # Neighbours that share a letter lie on one lane.
    for (a, _, x), (b, _, y) in zip(rows, rows[1:], strict=False):
        joined = any(p and q for p, q in zip(x, y, strict=True))
        if set(letters[a]) & set(letters[b]):
            assert joined, (a, b)


def test_the_other_parts_are_drawn_when_they_come_into_view(page, board):
    page.open(ADDRESS)
    assert page.run("return typeof Plotly") == "undefined"
    for part in ("cost", "coverage", "kinds", "shared"):
        page.run("document.getElementById(arguments[0]).scrollIntoView()", part)
    page.until("return document.querySelector('[aria-labelledby=cost] .plot').dataset.drawn === 'yes'")
    timed = [x for x in board["lines"] if x["cells"] and x["kind"] != "gaming"]
    assert page.run("return document.querySelectorAll('[aria-labelledby=cost] .scatterlayer .point').length") == len(timed)
    page.until("return document.querySelector('[aria-labelledby=shared] table') !== null")
    assert "gene not in the graph" in page.find("[aria-labelledby=coverage]").text
    assert len(page.all("[aria-labelledby=kinds] thead th")) == 1 + len(board["strata"])


def test_a_click_on_a_value_opens_its_conditions_with_a_scatter(page):
    page.open(ADDRESS)
    page.run(f"document.querySelector('{TABLE} tbody tr.model:nth-child(3) td a.value[href*=pearson]').click()")
    page.until("return location.hash.includes('/model/cpa') && document.documentElement.dataset.ready === location.hash")
    assert page.find("h1").text == "cpa"
    assert "pearson_delta%40all~ctrl" in page.run("return location.hash")
    page.until("return document.querySelector('.plot.square').dataset.drawn === 'yes'")
    assert page.run("return document.querySelectorAll('.plot.square .scatterlayer .point').length") == 30


def test_identification_board(page, site):
    codes = next(b for b in site[1].values() if b["kind"] == "identification")
    page.open(f"#/board/{codes['slug']}")
    assert [t.split("\n")[0] for t in page.texts("table.board tbody th a")] == [x["model"] for x in codes["lines"]]
    assert len(page.all("table.board svg.whisker .seed")) == 3 * len(codes["lines"]) * len(codes["metrics"])
    heat = page.run(
        "return [...document.querySelectorAll('table.heat tbody tr')].map(r => [...r.cells].slice(1).map(c => c.innerText))"
    )
    assert heat == [[f"{x['by_latent'][z]:.2f}".replace("-", "−") for z in codes["latents"]] for x in codes["lines"]]


def test_letters_beyond_z_are_whole_and_many_of_them_do_not_widen_the_page(page):
    page.open(ADDRESS)
    assert page.run("return pbench.lettersOf({letters: 'abz1a1'})") == ["a", "b", "z1", "a1"]
    assert page.run("return pbench.shortLetters({letters: 'abcdefghijklmnopqrstuvwxyza1b1'})") == "abc… (28)"
    assert page.run("return getComputedStyle(document.querySelector('.ranks')).overflowX") == "auto"
