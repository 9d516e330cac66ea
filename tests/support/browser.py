"""A headless Chromium for tests of the site: no page of it may ask another host for anything."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlparse

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    # Any name that is not this machine's leads nowhere.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def lacking():
    """What is missing for a browser test; an empty string where nothing is."""
    if find_spec("selenium") is None:
        return "the package selenium is not installed: pip install 'pbench[browser]'"
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"there is no {' and no '.join(absent)} on this machine" if absent else ""


def axe_source():
    """The JavaScript of axe-core out of the package that ships it; the package is not imported, as it wants another driver."""
    spec = find_spec("axe_playwright_python")
    if spec is None:
        pytest.skip("the package axe-playwright-python is not installed: pip install 'pbench[browser]'")
    return (Path(next(iter(spec.submodule_search_locations))) / "axe.min.js").read_text(encoding="utf-8")


@contextlib.contextmanager
def chromium(width=1280, height=900):
    """A driver with an empty profile, quit at the end."""
    os.environ.setdefault("SE_AVOID_STATS", "true")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    with tempfile.TemporaryDirectory(prefix="pbench-chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            driver.set_script_timeout(60)
            driver.set_page_load_timeout(60)
            # The tab that the browser opens by itself loads pages of its own: away from it, and forget them.
            driver.get("about:blank")
            driver.get_log("performance")
            driver.get_log("browser")
            yield driver
        finally:
            driver.quit()


class Page:
    """The site as a reader has it: an address, what is on the screen, and what went wrong behind it."""

    def __init__(self, driver, folder):
        self.driver, self.folder = driver, Path(folder)
        self.requests, self.errors = [], []

    def url(self, address):
        return f"{self.folder.joinpath('index.html').as_uri()}{address}"

    def open(self, address="#/", *, width=1280, height=900, theme=None, fresh=True):
        """Open an address and wait until its page is drawn."""
        self.size(width, height, theme)
        if fresh:
            self.driver.get("about:blank")
        self.driver.get(self.url(address))
        return self.ready(address)

    def size(self, width, height, theme=None):
        """A window of that size, with the theme that the system asks for."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        if theme:
            self.driver.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            )

    def ready(self, address):
        """Wait until the page of the address is drawn."""
        self.until("return document.documentElement.dataset.ready === arguments[0]", address)
        return self

    def until(self, script, *arguments, seconds=30):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda d: d.execute_script(script, *arguments))

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        from selenium.webdriver.common.by import By

        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        from selenium.webdriver.common.by import By

        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        """The visible text of all elements that fit a selector."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).map(e => e.innerText.trim())",
            selector,
        )

    def violations(self, *, only=None):
        """What axe-core finds that is serious or critical, as (rule, impact, first elements); `only` names rules."""
        self.run(axe_source())
        options = {"resultTypes": ["violations"], "preload": False} | ({"runOnly": list(only)} if only else {})
        found = self.driver.execute_async_script(
            """const done = arguments[arguments.length - 1];
            axe.run(document, arguments[0]).then(r => done(r.violations.map(v =>
              [v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])), e => done([["axe", "critical", [String(e)]]]))""",
            options,
        )
        return [v for v in found if v[1] in ("serious", "critical")]

    def gather(self):
        """Read the browser's own logs: `errors` of the console, `requests` by address."""
        self.errors += [e["message"] for e in self.driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        return self

    def foreign(self):
        """Addresses that are no files of this folder."""
        return sorted({u for u in self.requests if urlparse(u).scheme not in ("file", "data", "about", "blob")})
