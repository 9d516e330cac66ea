"""Bytes with which a reader once did something else than answer or refuse in a sentence."""

from __future__ import annotations

import json

import pytest
import seeds
from targets import TARGETS, run


def _manifest(**changed) -> bytes:
    return json.dumps({**json.loads(seeds.manifests()[0]), **changed}).encode()


def _card(**changed) -> bytes:
    """The card of a record; a field that is to be None is left out."""
    return json.dumps({k: v for k, v in {**json.loads(seeds.cards()[0]), **changed}.items() if v is not None}).encode()


FINDS = {
    # A control character of the file came out in the message.
    "column in a message": ("features-csv", b"gene,a,\nA,1,4\x11\n"),
    "header in a message": ("predictions-csv", b"per\x01ation,A\nx,1\n"),
    # An array of a trillion values in the place of the group of layers was gone through value by value.
    "layers that are an array": ("h5ad-edits", bytes([0, 10, 17, 0, 0])),
    # RecursionError and OverflowError are neither ValueError nor OSError.
    "nested manifest": ("manifest", b"[" * 100_000),
    "dose beyond floats": (
        "manifest",
        _manifest(conditions=[{"condition": {"targets": ["A"], "doses": [10**400]}, "role": "test"}]),
    ),
    "digits without end": ("manifest", b'{"a": ' + b"9" * 10_000 + b"}"),
    "role that is a list": ("manifest", _manifest(conditions=[{"condition": {"targets": ["A"]}, "role": []}])),
    "dose that is not a number": (
        "manifest",
        _manifest(conditions=[{"condition": {"targets": ["A"], "doses": [float("nan")]}, "role": "test"}]),
    ),
    "half a character": ("manifest", _manifest(dataset="\ud800")),
    "targets in one text": ("conditions", b'{"targets": "ABC"}'),
    "nested history": ("history", b"[" * 100_000),
    # A card that lacks what boards read is damaged, which boards say.
    "card without seconds": ("record", _card(seconds=None)),
    "nested condition": ("conditions", b'{"targets": ' + b"[" * 100_000),
}


@pytest.mark.parametrize("what", FINDS)
def test_past_finds(what, tmp_path):
    name, data = FINDS[what]
    taken = run(TARGETS[name], data, tmp_path / "x")
    assert taken == (name in ("conditions", "record"))
