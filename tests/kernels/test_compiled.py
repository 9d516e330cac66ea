"""Where the compiled loops' machine code is kept."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from numba import config

from pbench.bench.kernels.compiled import compiled

_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import loops
print(loops.total(3))
"""

_LOOPS = """
from pbench.bench.kernels.compiled import compiled

@compiled
def total(count):
    result = 0
    for number in range(count + 1):
        result += number
    return result
"""


def _total(values: np.ndarray) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


@pytest.mark.parametrize("options", [{}, {"fastmath": True}])
def test_the_loop_computes_what_it_says(options: dict[str, bool]) -> None:
    values = np.arange(7.0)
    loop = compiled(**options)(_total) if options else compiled(_total)
    assert loop(values) == _total(values) == 21.0
    assert loop.targetoptions.get("fastmath", False) == options.get("fastmath", False)


def test_files_are_not_kept_beside_the_source() -> None:
    # An uninstalled package's leftover cache once hid the editable installation that followed.
    place = Path(compiled(_total)._cache.cache_path)
    assert Path(__file__).parent not in place.parents
    assert Path(config.CACHE_DIR or Path(platformdirs.user_cache_dir("pbench")) / "compiled") == place.parent


def test_numba_keeps_its_setting_for_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for given in ("", str(tmp_path)):
        monkeypatch.setattr(config, "CACHE_DIR", given)
        compiled(_total)
        assert given == config.CACHE_DIR


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
def test_a_user_says_where_they_are_kept(variable: str, tmp_path: Path) -> None:
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    (source / "loops.py").write_text(_LOOPS)
    surroundings = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(source)],
        env=surroundings | {variable: str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "6"
    assert list(cache.rglob("*.nbi"))
    assert not list(source.rglob("*.nbi"))
