"""The page's files: ours and those of installed packages, the same bytes every time, and a plain word where a package is missing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import pbench
from pbench.bench.contracts.errors import DataError, MissingDependency
from pbench.leaderboards.site import assets


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def written(tmp_path):
    for package in ("itables", "plotly"):
        pytest.importorskip(package, reason="the packages of pbench[site] are not installed")
    assets.write_assets(tmp_path)
    return tmp_path


def test_every_file_that_the_page_asks_for_is_there(written):
    page = (written / "index.html").read_text(encoding="utf-8")
    asked = set(re.findall(r'(?:src|href)="(assets/[^"]+)"', page)) | {"assets/plotly.js"}
    assert asked | {"index.html"} == set(files(written))
    # No style, script or handler in the page itself, so that the policy can forbid them; and no other host.
    assert not re.search(r"<script(?![^>]*src)|<style|\son[a-z]+=|https?:", page)
    assert "default-src 'none'" in page and "script-src 'self';" in page


def test_ours_ask_no_other_host():
    for path in assets.TEMPLATES.iterdir():
        text = path.read_text(encoding="utf-8")
        links = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not {x for x in links if re.match(r"https?://\w", x)}, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), path.name


def test_written_twice_the_bytes_are_the_same(written, tmp_path_factory):
    other = tmp_path_factory.mktemp("again")
    assets.write_assets(other)
    assert files(other) == files(written)


def test_a_missing_package_is_named_with_what_to_type(tmp_path, monkeypatch):
    for package in ("itables", "plotly"):
        monkeypatch.setattr(
            assets, "find_spec", lambda name, package=package: None if name == package else pytest.importorskip(name).__spec__
        )
        with pytest.raises(MissingDependency, match=re.escape("pip install 'pbench[site]'")) as error:
            assets.write_assets(tmp_path)
        assert error.value.exit_code == 4 and package in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_package_without_its_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "_package", lambda name: tmp_path / name)
    with pytest.raises(DataError, match=r"'itables' has no dt_bundle\.js"):
        assets.write_assets(tmp_path / "site")


def test_modules_become_classic_scripts():
    text = assets.classic("const f = 1;export{f as g,f as default,h as q};\n/* licence */")
    assert (
        "window.DataTable = f;" in text and "export" not in text and text.rstrip().endswith("})();") and "/* licence */" in text
    )
    # A line comment at the end does not swallow what closes the script.
    assert assets.classic("export{f as default}; // end").endswith("// end\n})();\n")
    for other in (
        "const f = 1;",
        "export{f as g};",
        "import x from 'y';export{f as default};import('z')",
        "export{f as default};import.meta.url",
    ):
        with pytest.raises(DataError, match="another form"):
            assets.classic(other)


def test_nothing_of_others_is_in_the_repository():
    root = Path(pbench.__file__).parent
    if not (root / ".git").exists():
        pytest.skip("this is no checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    ours = {p.name for p in assets.TEMPLATES.iterdir()}
    scripts = [p for p in tracked if p.endswith((".js", ".css")) and not p.startswith("leaderboards/site/templates/")]
    assert [p for p in scripts if not p.startswith("docs/")] == []
    assert not ours & {"datatables.js", "plotly.js"}
    assert sum((assets.TEMPLATES / name).stat().st_size for name in ours) < 150_000
