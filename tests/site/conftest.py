"""One headless Chromium and a few made-up sites for all tests of the page."""

from __future__ import annotations

import pytest
from browser import Page, chromium, lacking
from site_folder import write_site


@pytest.fixture(scope="session")
def driver():
    missing = lacking()
    if missing:
        pytest.skip(missing)
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with three boards of predictions and one of codes, and what was written into its boards by slug."""
    pytest.importorskip("itables", reason="the packages of pbench[site] are not installed")
    pytest.importorskip("plotly", reason="the packages of pbench[site] are not installed")
    folder = tmp_path_factory.mktemp("site")
    return folder, {b["slug"]: b for b in write_site(folder)}


@pytest.fixture
def page(driver, site):
    """The site as a reader has it; whatever a test does, no error in the console and no request to anybody."""
    shown = Page(driver, site[0])
    yield shown
    shown.gather()
    assert shown.errors == []
    assert shown.foreign() == []
