"""How long a reader waits for the site of 100 models on 20 boards of 500 perturbations in headless Chromium.

Times are the browser's own: from the start of a navigation, or from a click, until the frame after is painted. What the
driver needs to ask for them is not in them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser import Page, chromium, lacking
from site_folder import write_site

#: A site of that size that `tests/support/synthetic_records.py FOLDER 100 20 500` has built of records, in place of made-up data files.
BUILT = os.environ.get("PBENCH_BENCH_BUILT_SITE")
BOARD, MODEL = "#/board/norman-mini--doubles", "gears"
if BUILT:
    _first = sorted(path for path in (Path(BUILT) / "data" / "model").iterdir())[0]
    BOARD, MODEL = f"#/board/{_first.name}", sorted(path.stem for path in _first.iterdir())[0]
ROUNDS = 7
#: Two frames later everything that a script did has been laid out and painted.
PAINTED = "requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from)));"

#: Put into a page before its own scripts: when the frame was painted in which the page said that it is drawn.
WATCH = """
new MutationObserver((changes, observer) => {
  if (!document.documentElement.dataset.ready) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => (window.painted = performance.now())));
}).observe(document, {attributes: true, subtree: true, attributeFilter: ["data-ready"]});
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if lacking():
        pytest.skip(lacking())
    for package in ("itables", "plotly"):
        pytest.importorskip(package, reason="the packages of pbench[site] are not installed")
    folder = Path(BUILT) if BUILT else tmp_path_factory.mktemp("large")
    if not BUILT:
        write_site(folder, models=100, boards=20, conditions=500, files=2)
    with chromium() as driver:
        yield Page(driver, folder)


def report(benchmark, measure):
    """Times of the browser in place of those of the driver, in seconds."""
    times = []
    benchmark.pedantic(lambda: times.append(measure() / 1000), rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["browser_seconds"] = [round(t, 4) for t in times[1:]]
    benchmark.extra_info["browser_median"] = round(sorted(times[1:])[ROUNDS // 2], 4)


@pytest.mark.parametrize(
    "name, address", {"home": "#/", "board": BOARD, "model": f"{BOARD}/model/{MODEL}"}.items(), ids=("home", "board", "model")
)
def test_load(benchmark, page, name, address):
    """From the start of the navigation until the table of the page is painted."""

    watch = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})["identifier"]

    def measure():
        page.open(address)
        return page.until("return window.painted")

    report(benchmark, measure)
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": watch})
    assert page.run("return document.querySelectorAll('tbody tr, .names li').length") >= 100


def test_scatter(benchmark, page):
    """From the start of the navigation until the scatter of a perturbation is drawn; the plotting library is loaded for it."""
    watch = WATCH.replace("document.documentElement.dataset.ready", "document.querySelector('.plot.square[data-drawn]')")
    watch = page.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": watch.replace('"data-ready"', '"data-drawn"')}
    )["identifier"]

    def measure():
        page.open(f"{BOARD}/model/{MODEL}/7")
        return page.until("return window.painted")

    report(benchmark, measure)
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": watch})


@pytest.mark.parametrize("column", ["pearson_delta", "model", "l2"])
def test_sort(benchmark, page, column):
    """From the click on a head until the sorted table is painted."""
    page.open(BOARD)

    def measure():
        return page.driver.execute_async_script(
            f"""const done = arguments[arguments.length - 1];
            const button = [...document.querySelectorAll('.table-slot thead button.sort')].find(b => b.innerText.startsWith(arguments[0]));
            const from = performance.now();
            button.click();
            {PAINTED}""",
            column,
        )

    report(benchmark, measure)


def test_filter(benchmark, page):
    """From a letter in the filter until the narrowed table is painted."""
    page.open(BOARD)

    def measure():
        return page.driver.execute_async_script(
            f"""const done = arguments[arguments.length - 1];
            const box = document.querySelector("input[aria-label='Filter models']");
            const from = performance.now();
            box.value = box.value ? '' : 'model-04';
            box.dispatchEvent(new Event('input'));
            {PAINTED}"""
        )

    report(benchmark, measure)
