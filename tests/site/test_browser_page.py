"""The page around the tables in a real browser: search, addresses, themes, phones, and data that means harm."""

from __future__ import annotations

import shutil

import pytest
from browser import Page
from site_folder import index_of, put, write_site

BOARD = "#/board/norman-mini--doubles"
ADDRESSES = {
    "home": "#/",
    "board": BOARD,
    "conditions": f"{BOARD}/model/ridge/2?metric=l2%40all",
    "codes": "#/board/latent-static--codes--identification",
    "model": "#/model/additive",
    "history": "#/history",
    "about": "#/about",
}


def test_home_says_what_stands_where_and_finds(page, site):
    page.open("#/")
    cards = page.texts(".card")
    assert len(cards) == len(site[1])
    norman = next(c for c in cards if "norman-mini" in c)
    for said in (
        "Share rank 1: additive, gears",
        "10 models · 3 seeds · 24 conditions",
        "real cells",
        "1 grey metric",
        "audit remarks",
    ):
        assert said in norman
    assert "simulated" in next(c for c in cards if "papalexi" in c)
    rows = page.texts("[aria-labelledby=together] tbody th")
    assert rows == ["ivae", "pca", "sams-vae", "linear+pca", "oracle-latents"]
    assert "12 test cells are in training" in page.find("main").text
    box = page.find("#search")
    box.send_keys("kang")
    assert len(page.texts(".card")) == 1 and page.texts(".names li") == []
    page.run("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", box)
    box.send_keys("co-expression")
    assert page.texts(".card") == [] and page.texts(".names a") == ["gears"]
    box.send_keys("nothing")
    assert "No board and no model" in page.find("main").text
    page.open("#/")
    page.find(".card h3 a").click()
    page.until("return document.documentElement.dataset.ready === arguments[0]", BOARD)
    # Whoever reads by ear lands on the title of the new page.
    assert page.run("return document.activeElement.tagName") == "H1"
    assert page.driver.title == "Norman 2019: pairs of genes in K562, a small part · pbench"


def test_addresses_that_lead_nowhere_say_so(page):
    for address in (
        "#/nothing",
        "#/board/norman-mini--doubles/model/nobody",
        f"{BOARD}/model/ridge/999",
        "#/board/../../etc",
        "#/model/nobody",
        "#/%E0%A4%A",
    ):
        page.open(address, fresh=False)
        assert page.find("h1").text == "Nothing to show", address
        assert page.find("main a").text == "All boards"
    # Its files are not there: the one line in the console is the browser's own.
    page.open("#/board/not-there", fresh=False)
    assert "data/board/not-there.js is not there" in page.find("main").text
    page.gather()
    assert all("not-there.js" in e for e in page.errors) and len(page.errors) == 1
    page.errors.clear()


def test_dark_is_what_the_system_asks_for_or_what_was_chosen(page):
    page.open("#/", theme="dark")
    dark = "return [document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor]"
    theme, ground = page.run(dark)
    assert theme == "dark" and max(int(x) for x in ground[4:-1].split(",")) < 60
    page.find("#theme").click()
    theme, ground = page.run(dark)
    assert theme == "light" and min(int(x) for x in ground[4:-1].split(",")) > 230
    assert page.find("#theme").get_attribute("aria-pressed") == "false"
    page.open(BOARD, theme="dark")
    assert page.run(dark)[0] == "light"
    page.run("localStorage.clear()")
    page.open("#/", theme="light")
    assert page.run(dark)[0] == "light"


def test_plots_follow_the_theme(page):
    page.open(ADDRESSES["conditions"], theme="light")
    page.until("return document.querySelector('.plot.square').dataset.drawn === 'yes'")
    colour = "return getComputedStyle(document.querySelector('.plot.square .xtick text')).fill"
    before = page.run(colour)
    page.find("#theme").click()
    page.until(f"{colour} !== arguments[0]".replace("return ", "return (", 1).replace(" !== ", ") !== ", 1), before)
    page.run("localStorage.clear()")


@pytest.mark.parametrize("name", ADDRESSES)
def test_no_page_shows_what_is_no_word(page, name):
    page.open(ADDRESSES[name])
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    page.run("for (const s of document.querySelectorAll('section')) s.scrollIntoView()")
    page.until("return [...document.querySelectorAll('.plot')].every(p => p.hidden || p.dataset.drawn === 'yes')")
    found = page.run(
        """const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const found = [];
        while (walk.nextNode()) if (/\\b(null|undefined|NaN|Infinity|\\[object)\\b/.test(walk.currentNode.data)) found.push(walk.currentNode.data);
        for (const e of document.querySelectorAll('[data-tip], [href], [aria-label]'))
          for (const a of e.attributes) if (/\\b(null|undefined|NaN)\\b/.test(a.value)) found.push(`${a.name}=${a.value}`);
        return found;"""
    )
    assert found == []


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_phone_never_scrolls_sideways(page, name):
    page.open(ADDRESSES[name], width=390, height=844)
    # Parts further down are drawn on the way.
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    page.run("for (const s of document.querySelectorAll('section')) s.scrollIntoView()")
    page.until("return [...document.querySelectorAll('.plot')].every(p => p.hidden || p.dataset.drawn === 'yes')")
    wide, beyond = page.run(
        """const beyond = [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && !e.closest('.scroll, pre, svg, .unseen')
             && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120));
        return [document.documentElement.scrollWidth, beyond];"""
    )
    assert wide <= 390
    assert beyond == []


def test_the_first_column_stays_on_a_phone(page):
    page.open(BOARD, width=390, height=844)
    before, after, moved = page.run(
        """const box = document.querySelector('.scroll');
        const at = s => box.querySelector(s).getBoundingClientRect().left;
        const before = [at('tbody th'), at('tbody td')];
        box.scrollLeft = 300;
        return [before, [at('tbody th'), at('tbody td')], box.scrollLeft];"""
    )
    assert moved == 300 and after[0] == before[0] and after[1] == before[1] - 300


def test_the_page_is_neither_blank_nor_crooked(page):
    """Structure that a screenshot shows: the table lies in the window, heads align with cells, and there is ink in it."""
    import io

    import numpy as np
    from PIL import Image

    page.open(BOARD, width=1280, height=1000, theme="light")
    box = page.run(
        "const r = document.querySelector('.table-slot .scroll').getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]"
    )
    assert box[0] >= 0 and box[2] <= 1280
    columns = page.run(
        """const table = document.querySelector('.table-slot table');
        const left = row => [...row.cells].map(c => c.getBoundingClientRect().left);
        return [left(table.tHead.rows[0]), left(table.tBodies[0].rows[0])];"""
    )
    np.testing.assert_allclose(columns[0], columns[1], atol=1)
    picture = np.asarray(Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB"), dtype=float)
    table = picture[int(box[1]) : int(min(box[3], 1000)), int(box[0]) : int(box[2])]
    ink = (np.abs(table - np.median(table, axis=(0, 1))).max(axis=2) > 40).mean()
    assert 0.01 < ink < 0.3
    # The accent of the dots is there.
    assert ((np.abs(table - (11, 102, 96)).max(axis=2)) < 12).sum() > 500


HOSTILE = {
    "cpa": "<img src=x onerror=\"window.harm='name'\">",
    "ridge": "</script><script>window.harm='script'</script>",
    "nearest": "javascript:window.harm='link'",
    "bilinear": "<b>bold</b>&amp;\u202e\u2028'\"`${window.harm=1}",
    "scgpt": "__proto__",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, site):
    """A site whose every name and text is markup; the libraries are those of the other site."""
    import numpy as np

    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(site[0] / "assets", folder / "assets")
    made = write_site(folder, boards=1, rename=HOSTILE)
    evil = HOSTILE["cpa"]
    for board in made:
        board["words"] = {k: f"{evil}{k}" for k in ("title", "may", "may_not", "command")}
        board["card"] |= {"source": "javascript:window.harm='source'", "licence": evil, "known_defects": [evil], "title": evil}
        for x in board["lines"]:
            x["reason"] = x["reason"] and evil
            x["prior"] = [evil] if x.get("prior") else []
        board["audit"]["findings"] = [{"rule": 1, "name": evil, "status": "warn", "detail": evil}]
        for c in board.get("conditions", ()):
            c["label"] = f"{evil}{c['label']}"
        put(folder, f"board/{board['slug']}", board)
    index = index_of(made, np.random.default_rng(0))
    for m in index["metrics"].values():
        m["formula"] = evil
    put(folder, "index", index)
    return folder


def test_names_from_data_stay_text(driver, hostile):
    page = Page(driver, hostile)
    slug = next(p.stem for p in (hostile / "data/model/norman-mini--doubles").iterdir() if "img" in p.stem)
    for address in (
        "#/",
        BOARD,
        f"{BOARD}/model/{slug}/2",
        "#/board/latent-static--codes--identification",
        f"#/model/{slug}",
        "#/history",
        "#/about",
    ):
        page.open(address)
        assert page.find("h1").text != "Nothing to show"
        page.run("for (const d of document.querySelectorAll('details')) d.open = true")
        page.run("for (const s of document.querySelectorAll('section')) s.scrollIntoView()")
        page.until("return [...document.querySelectorAll('.plot')].every(p => p.hidden || p.dataset.drawn === 'yes')")
        for button in page.all("thead button.sort")[:3]:
            page.run("arguments[0].click()", button)
        for target in page.all("[data-tip]")[:8]:
            page.run("arguments[0].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))", target)
        assert page.run("return document.querySelectorAll('main img, #tip *, main script, main b, svg image').length") == 0, (
            address
        )
        assert page.run("return window.harm") is None, address
        links = page.run("return [...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(Boolean)")
        assert all(x.startswith(("#", "https://")) for x in links), address
    # In a plot, too, a name is what it is, tags and all.
    bold = next(p.stem for p in (hostile / "data/model/norman-mini--doubles").iterdir() if "bold" in p.stem)
    page.open(f"{BOARD}/model/{bold}/2")
    page.until("return document.querySelector('.plot.low').dataset.drawn === 'yes'")
    legend = page.run("return [...document.querySelectorAll('.plot.low .legendtext')].map(t => t.textContent)")
    assert any("<b>bold</b>&amp;" in text for text in legend)
    page.open(BOARD)
    names = page.texts(".table-slot tbody th a")
    assert HOSTILE["cpa"] in names and HOSTILE["scgpt"] in names
    page.gather()
    assert page.errors == [] and page.foreign() == []
