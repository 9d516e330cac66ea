"""Labels in every style that public files use."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.condition import CONTROL, escape, parse_label, unescape
from pbench.bench.contracts.errors import DataError
from pbench.datasets.labels import canonical, guides, joined

NAMES = st.text(min_size=1, max_size=8).map(str.strip).filter(lambda s: s and s not in {CONTROL, "ctrl"})


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("ctrl", "control"),
        ("KLF1+ctrl", "KLF1"),
        ("ctrl+KLF1", "KLF1"),
        ("SET+KLF1", "KLF1+SET"),
        (" SET + KLF1 ", "KLF1+SET"),
        ("KLF1+KLF1", "KLF1"),
    ],
)
def test_gears_style(label, expected):
    assert canonical(label, joined("+", control="ctrl"), where="f") == expected


@pytest.mark.parametrize(("label", "expected"), [("control", "control"), ("SET_KLF1", "KLF1+SET"), ("KLF1", "KLF1")])
def test_scperturb_style(label, expected):
    assert canonical(label, joined("_", control="control"), where="f") == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("NegCtrl0_NegCtrl0__NegCtrl0_NegCtrl0", "control"),
        ("NegCtrl11_NegCtrl0__NegCtrl11_NegCtrl0", "control"),
        ("AHR_NegCtrl0__AHR_NegCtrl0", "AHR"),
        ("NegCtrl0_KLF1__NegCtrl0_KLF1", "KLF1"),
        ("AHR_NegCtrl0", "AHR"),
        ("SET_KLF1__SET_KLF1", "KLF1+SET"),
    ],
)
def test_guide_style(label, expected):
    assert canonical(label, guides(), where="f") == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES.filter(lambda s: "|" not in s), min_size=1, max_size=3, unique=True), st.randoms())
def test_any_names_survive_in_any_order(names, random):
    shuffled = random.sample(names, len(names))
    label = canonical("|".join(shuffled), joined("|", control="ctrl"), where="f")
    assert parse_label(label) == tuple(sorted(names))


@settings(max_examples=60, deadline=None)
@given(NAMES)
def test_without_a_separator_a_label_is_one_name(name):
    assert parse_label(canonical(name, joined(None, control="ctrl"), where="f")) == (name,)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="AB%+25bc \u03b2/_", max_size=12))
def test_escaping_is_undone(name):
    assert unescape(escape(name)) == name
    assert "+" not in escape(name)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="AB%25b", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_canonical_label_is_canonical(names):
    parse = joined("+", control=CONTROL)
    label = canonical("+".join(names), parse, where="f")
    again = [canonical("+".join(order), lambda _: parse_label(label), where="f") for order in (names, names[::-1])]
    assert again == [label, label] and parse_label(label) == tuple(sorted(set(names)))


def test_says_where_and_what():
    with pytest.raises(DataError, match=r"my\.h5ad: obs\['gene'\].*'A\+\+B'.*--separator"):
        canonical("A++B", joined("+", control="ctrl"), where="my.h5ad: obs['gene']")


def test_very_long_labels_are_cut_in_messages():
    with pytest.raises(DataError) as caught:
        canonical("X" * 5000 + "++", joined("+", control="ctrl"), where="my.h5ad")
    assert len(str(caught.value)) < 250
