"""Slugs are safe file names on every system, and two names never share one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbench.leaderboards.slugs import LONGEST, slug

HOSTILE = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "C:\\x",
    "a/b",
    "a\\b",
    "nul",
    "con.txt",
    "</script>",
    "a\u2028b",
    "é",
    "\ud800",
    "x" * 500,
]


@pytest.mark.parametrize("name", ["norman-mini", "unseen-single", "c3di-lite-static", "l2.all", "x1"])
def test_plain_names_stay(name):
    assert slug(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_become_file_names(name):
    made = slug(name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", made)
    assert ".." not in made and "--" not in made and len(made) <= LONGEST + 15
    assert made.split(".")[0] not in ("con", "prn", "aux", "nul", "com1", "lpt1")


@given(st.text(), st.text())
def test_no_two_names_share_a_slug(a, b):
    assert (slug(a) == slug(b)) == (a == b)


def test_names_that_differ_in_case_differ_where_case_does_not_count():
    assert len({slug(n).lower() for n in ("GEARS", "Gears", "gears")}) == 3


def test_a_name_cannot_pass_for_the_slug_of_another():
    for name in ("a b", "A", "x" * 500, *HOSTILE):
        assert slug(slug(name)) != slug(name) or slug(name) == name


@given(st.text(), st.text(), st.text(), st.text())
def test_halves_of_an_address_do_not_run_into_each_other(a, b, c, d):
    assert (f"{slug(a)}--{slug(b)}" == f"{slug(c)}--{slug(d)}") == ((a, b) == (c, d))
    assert not slug(a).endswith("--identification")
