"""Whether the page can be read and used by everybody: axe-core's rules, and the keyboard alone."""

from __future__ import annotations

import pytest

BOARD = "#/board/norman-mini--doubles"
PAGES = {
    "home": "#/",
    "board": BOARD,
    "conditions": f"{BOARD}/model/ridge?metric=l2%40all",
    "codes": "#/board/latent-static--codes--identification",
}


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(page, name):
    page.open(PAGES[name], theme="light")
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    page.until("return [...document.querySelectorAll('.plot.square')].every(p => p.hidden || p.dataset.drawn === 'yes')")
    assert page.violations() == []
    # Only colours differ in the dark.
    page.find("#theme").click()
    assert page.run("return document.documentElement.dataset.theme") == "dark"
    page.run("for (const a of document.getAnimations()) a.finish()")
    assert page.violations(only=["color-contrast", "link-in-text-block"]) == []
    page.run("localStorage.clear()")


def test_axe_is_able_to_find_something(page):
    """The check itself works: text that is hard to read, and a picture without words."""
    page.open("#/about", theme="light")
    page.run(
        """const p = document.createElement('p');
        p.textContent = 'too pale';
        p.style.color = '#ddd';
        document.querySelector('main').append(p, new Image(9, 9));"""
    )
    assert {rule for rule, *_ in page.violations(only=["color-contrast", "image-alt"])} == {"color-contrast", "image-alt"}


def focused(page):
    return page.run(
        "const e = document.activeElement; return [e.tagName, (e.getAttribute('aria-label') || e.innerText || e.id || '').trim().split('\\n')[0]]"
    )


def test_the_keyboard_alone_reaches_a_perturbation(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key, times=1):
        ActionChains(page.driver).send_keys(*[key] * times).perform()

    page.open("#/")
    press(Keys.TAB)
    assert focused(page) == ["A", "Skip to the content"]
    assert page.run("return document.activeElement.getBoundingClientRect().top") >= 0
    press(Keys.ENTER)
    assert page.run("return document.activeElement.id") == "main"
    # The address did not change: the link moves the focus, not the page.
    assert page.run("return location.hash") in ("", "#/")
    press(Keys.TAB)
    assert page.run("return document.activeElement.id") == "search"
    press(Keys.TAB)
    assert focused(page)[1].startswith("Norman 2019")
    press(Keys.ENTER)
    page.until("return document.documentElement.dataset.ready === arguments[0]", BOARD)
    seen = []
    for _ in range(40):
        press(Keys.TAB)
        seen.append(focused(page)[1])
        if seen[-1] == "additive":
            break
        outline = page.run(
            "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, parseFloat(s.outlineWidth)]"
        )
        assert outline[0] != "none" and outline[1] >= 1, seen
    assert seen[-1] == "additive"
    assert {"Copy", "Filter models", "Models on norman-mini, doubles: table"} <= set(seen)
    # Arrows walk through the values, of which Tab visits none.
    press(Keys.ARROW_DOWN)
    assert focused(page)[1] == "gears"
    press(Keys.ARROW_RIGHT)
    assert page.run("return document.activeElement.matches('a.value')") or focused(page)[1] != "gears"
    press(Keys.ENTER)
    page.until("return location.hash.includes('/model/gears') && document.documentElement.dataset.ready === location.hash")
    page.run("document.querySelector('table.conditions tbody a').focus()")
    press(Keys.ARROW_DOWN)
    want = page.run("return document.activeElement.dataset.index")
    press(Keys.ENTER)
    page.until("return document.querySelector('a[aria-current=true]').dataset.index === arguments[0]", want)


def test_sizes_and_print(page):
    """Controls are large enough to hit, and a printed board has all its columns and parts."""
    page.open(BOARD, width=390, height=844)
    small = page.run(
        """return [...document.querySelectorAll('button, select, input[type=search], label.check, nav a')].filter(e => e.checkVisibility())
          .map(e => [e.outerHTML.slice(0, 60), e.getBoundingClientRect().height]).filter(([, h]) => h < 20)"""
    )
    assert small == []
    page.open(BOARD)
    page.run("dispatchEvent(new Event('beforeprint'))")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.run("return getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
        assert page.run("return getComputedStyle(document.querySelector('header')).display") == "none"
        assert page.run("return document.querySelectorAll('[aria-labelledby=coverage] .bar-row').length") == 10
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
