"""Whether values are what their declared scale says, from blocks of them in any number."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import DataError

Array = np.ndarray[Any, Any]

#: log1p of 10,000: no value on the log1p_1e4 scale can be larger.
LOG1P_1E4_MAX = float(np.log1p(1e4))
_AT_A_TIME = 1_000_000


class ValueCheck:
    """What has been seen of the values of a matrix.

    Parameters
    ----------
    scale
        Declared scale: ``counts``, ``log1p_1e4`` or ``raw``.
    source
        File or generator to name in errors.
    """

    def __init__(self, scale: str, source: str) -> None:
        self.scale, self.source = scale, source
        self.low = self.high = 0.0
        self.whole, self.any = True, False

    def add(self, values: Array) -> None:
        """Look at some more values, in any shape; those of a sparse matrix are the stored ones."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        # NaN stays, whatever comes after it.
        self.low = float(np.minimum(self.low, low)) if self.any else low
        self.high = float(np.maximum(self.high, high)) if self.any else high
        self.any = True
        if self.scale != "raw" and self.whole and self.low >= 0 and np.isfinite(self.high):
            flat = values.reshape(-1)
            blocks = (flat[i : i + _AT_A_TIME] for i in range(0, flat.size, _AT_A_TIME))
            self.whole = all(np.array_equal(block, np.rint(block)) for block in blocks)

    def refuse(self) -> None:
        """Raise what no further value can mend.

        Raises
        ------
        DataError
            With the fix.
        """
        low, high, source = self.low, self.high, self.source
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"{source}: X contains NaN or infinite values; remove those cells or genes before the run.")
        if self.scale == "raw":
            return
        if low < 0:
            raise DataError(
                f"{source}: X contains negative values (smallest {low:g}), which neither counts nor log1p have; was it scaled?"
            )
        if self.scale == "counts" and not self.whole:
            raise DataError(
                f"{source}: X was declared as counts but holds fractions; declare --scale log1p_1e4 or name the layer with counts."
            )
        if self.scale == "log1p_1e4" and high > LOG1P_1E4_MAX + 1e-3:
            raise self._looks_like_counts()

    def finish(self) -> None:
        """Raise what is wrong now that all values have been seen.

        Raises
        ------
        DataError
            With the fix.
        """
        if self.low == self.high == 0:
            raise DataError(f"{self.source}: X holds no value but zero; name the layer that holds expression with --layer.")
        self.refuse()
        if self.scale == "log1p_1e4" and self.whole and self.high > 1:
            raise self._looks_like_counts()

    def _looks_like_counts(self) -> DataError:
        return DataError(
            f"{self.source}: X was declared as log1p_1e4 but looks like counts (largest value {self.high:g}; the scale ends at "
            f"{LOG1P_1E4_MAX:.2f}); declare --scale counts."
        )
