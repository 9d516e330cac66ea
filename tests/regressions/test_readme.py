"""The tables of this folder's README point at tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent


def functions(path):
    return set(re.findall(r"^def (test_\w+)", path.read_text(), flags=re.M))


def test_every_test_that_is_named_exists():
    named = 0
    for line in (HERE / "README.md").read_text().splitlines():
        file = None
        for reference in re.findall(r"`([^`]+)`", line):
            found = re.fullmatch(
                r"(?:tests/(?P<folder>\w+)/)?(?P<file>test_\w+)?(?:::(?P<test>test_\w+)(?P<more>…)?)?", reference
            )
            if not found or not (found["file"] or found["test"]):
                continue
            if found["file"]:
                folder = TESTS / found["folder"] if found["folder"] else HERE
                file = folder / f"{found['file']}.py"
                assert file.is_file(), reference
            if found["test"]:
                assert file is not None, reference
                matching = {t for t in functions(file) if t == found["test"] or (found["more"] and t.startswith(found["test"]))}
                assert matching, reference
            named += 1
    assert named > 80


def test_the_twenty_are_all_there():
    text = (HERE / "README.md").read_text()
    assert re.findall(r"^\| (T\d+) \|", text, flags=re.M) == [f"T{i}" for i in range(1, 21)]
