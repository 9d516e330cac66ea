"""What a stranger's object is refused for, and what its functions raise, in words."""

from __future__ import annotations

import numpy as np
import pytest

from pbench import Dataset, DatasetCard, MetricInfo, Values
from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.contracts.plugin import guarded, summary_of, unfit

CARD = DatasetCard("theirs", "Theirs", "nowhere", "CC0", "counts", "control")


def error(comparison):
    return Values.of(np.zeros(1))


def raises(*_):
    raise KeyError("no such column")


def quits():
    raise SystemExit(3)


GOOD = MetricInfo("theirs", 1, "down", 0, np.inf, 0, error, "An error.")


@pytest.mark.parametrize(
    "kind, value, said",
    [
        ("model", object(), "no class with fit and predict"),
        ("dataset", {"card": CARD}, "no pbench.Dataset"),
        ("dataset", Dataset({"name": "theirs"}, quits, quits), "no pbench.DatasetCard"),
        ("dataset", Dataset(CARD, "sha", quits), "must be functions"),
        ("metric", error, "no pbench.MetricInfo"),
        ("metric", MetricInfo("other", 1, "down", 0, np.inf, 0, error, "An error."), "its id is 'other'"),
        ("metric", MetricInfo("theirs", 1, "sideways", 0, np.inf, 0, error, "An error."), "direction is one of"),
        ("metric", MetricInfo("theirs", 1, "down", 0, np.inf, 0, None, "An error."), "its function is none"),
        ("split", DatasetCard, "no function of a screen"),
    ],
)
def test_what_does_not_look_like_its_kind_is_refused_in_words(kind, value, said):
    assert said in unfit(kind, "theirs", value)


def test_what_looks_like_its_kind_is_taken():
    assert unfit("metric", "theirs", GOOD) == unfit("dataset", "theirs", Dataset(CARD, quits, quits)) == ""
    assert unfit("split", "theirs", raises) == ""


@pytest.mark.parametrize("part, name", [(raises, "KeyError"), (quits, "SystemExit")])
def test_what_a_data_set_raises_is_told_with_its_owner(part, name):
    dataset = guarded(Dataset(CARD, part, part), "theirs", "stranger 1.0")
    for function in (dataset.data_id, dataset.load):
        with pytest.raises(DataError, match=rf"'theirs' \(stranger 1.0\).*{name}"):
            function()


def test_a_wrong_parameter_of_a_split_stays_what_it_is_and_other_errors_are_told():
    with pytest.raises(TypeError):
        guarded(quits, "theirs", "file")("too", "many")
    with pytest.raises(DataError, match="split 'theirs'"):
        guarded(raises, "theirs", "file")(None)


def test_what_a_stranger_prints_is_no_part_of_the_answer(capsys):
    def chatty():
        print("hello")
        return "an identity"

    assert guarded(Dataset(CARD, chatty, chatty), "theirs", "file").data_id() == "an identity"
    assert capsys.readouterr() == ("", "hello\n")


def test_summaries():
    assert (summary_of(GOOD), summary_of(Dataset(CARD, quits, quits)), summary_of(quits)) == ("An error.", "Theirs", "")


@pytest.mark.parametrize(
    "line, said",
    [
        ("from pbench import Dataset\nX = Dataset({'name': 'x'}, str, str)", "its card is no pbench.DatasetCard"),
        (
            "from pbench import MetricInfo\nX = MetricInfo('theirs-bad', 1, 'sideways', 0, 1, 0, len, 'bad')",
            "direction is one of",
        ),
        ("SPLITS = {'theirs-bad': 3}", "no function of a screen"),
    ],
)
def test_a_file_with_what_does_not_look_like_its_kind_is_refused(line, said, tmp_path):
    (tmp_path / "theirs.py").write_text(line)
    with pytest.raises(UsageError, match=said):
        registry.load_plugin_file(tmp_path / "theirs.py")
    assert "theirs-bad" not in registry.metrics.names() + registry.splits.names()
