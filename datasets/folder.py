"""The data folder: where files of data sets lie, and what to say when one is not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..bench.contracts.errors import DataError


def data_folder() -> Path:
    """``PBENCH_DATA`` where it is set, else a folder in the user's cache."""
    if chosen := os.environ.get("PBENCH_DATA"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("pbench")) / "data"


def find(names: Sequence[str]) -> Path | None:
    """The first of these file names that is in the data folder."""
    folder = data_folder()
    return next((folder / n for n in names if (folder / n).is_file()), None)


def not_here(dataset: str, names: Sequence[str], *, tried: str = "") -> DataError:
    """The one message about a data set that is neither cached nor reachable.

    Parameters
    ----------
    names
        File names under which the data set is looked for.
    tried
        What was tried beside the folder, and how it failed.
    """
    folder = data_folder()
    looked = " or ".join(names)
    source = "PBENCH_DATA" if os.environ.get("PBENCH_DATA") else "the default data folder; set PBENCH_DATA to use another"
    attempt = f" {tried}" if tried else f" Download it with: pbench fetch {dataset}."
    return DataError(
        f"data set '{dataset}' is not here: looked for {looked} in {folder} ({source}).{attempt} "
        f"Or put the file there by hand. Meanwhile, this runs without any download: pbench run --dataset norman-sim"
    )
