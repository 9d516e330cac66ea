"""Commands that read files of strangers outlive whatever a file does to its reader."""

from __future__ import annotations

import numpy as np
import pytest
from ends_of_readers import asks, breaks, eats, ends, goes_round_in_circles, looks_and_waits

from pbench.bench.contracts.errors import DataError, PbenchError, UsageError
from pbench.bench.engine import apart as module
from pbench.bench.engine.apart import apart

CRASHING = """
import os
from pbench import Dataset, DatasetCard

def crash():
    os.kill(os.getpid(), 11)

CARD = DatasetCard("crashing", "Crashing", "nowhere", "CC0", "counts", "control")
CRASHING = Dataset(CARD, lambda: "0" * 64, crash)
"""


def test_what_becomes_of_a_call(monkeypatch):
    assert apart(abs, -3, "three") == 3
    with pytest.raises(DataError, match="x could not be read: the process was killed by signal 11. A damaged file"):
        apart(ends, 0, "x could not be read")
    with pytest.raises(UsageError, match="^say what$"):
        apart(asks, 0, "x")
    with pytest.raises(PbenchError, match="ZeroDivisionError"):
        apart(breaks, 0, "x")
    monkeypatch.setattr(module, "readers_memory", lambda: 900.0)
    with pytest.raises(DataError, match="x: ran out of memory of 900 MB"):
        apart(eats, 0, "x")


@pytest.mark.parametrize("command", [("audit", "unseen-single"), ("show", "unseen-single")])
def test_reading_that_crashes_is_an_error_of_the_data(command, pbench, tmp_path):
    (tmp_path / "crashing.py").write_text(CRASHING)
    done = pbench(*command, "--dataset", "crashing", "--plugin", "crashing.py", cwd=tmp_path)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "crashing could not be read: the process was killed by signal 11" in done.stderr


def test_a_file_that_is_never_looked_through_is_an_error_of_the_data(tmp_path):
    import anndata
    import pandas as pd

    path = tmp_path / "x.h5ad"
    anndata.AnnData(np.ones((2, 2)), obs=pd.DataFrame({"a": [1, 2]}, index=["c", "d"])).write_h5ad(path)
    with pytest.raises(DataError, match="x.h5ad could not be read: the process was killed by signal 14. A damaged file"):
        apart(goes_round_in_circles, path, "x.h5ad could not be read")
    assert apart(looks_and_waits, path, "x") == ["_index", "a"], "only the looking through is limited"
