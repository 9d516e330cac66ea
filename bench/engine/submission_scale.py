"""Whether predictions are on the scale that was declared for them: what contradicts it is refused, and nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.errors import DataError
from ..contracts.values import LOG1P_1E4_MAX

Array = np.ndarray[Any, Any]
#: Level of predictions, as a multiple of the truth's, beyond which those that look like the control are on another scale,
#: and beyond which all are. On public screens log2 gives 1.4, log10 0.4, a million instead of 10,000 1.9 to 3.1.
LEVELS, EXTREMES = (0.6, 1.3), (0.2, 1.8)
#: How much like the control predictions must be, as a multiple of the truth's cosine, for their level to say something.
ALIKE = 0.85


def check_declared(truth: str, scale: str, *, means: bool) -> None:
    """Refuse a scale that cannot be brought to the truth's.

    Raises
    ------
    DataError
        Naming what can be done.
    """
    if truth == "raw" and scale not in ("raw", "delta"):
        raise DataError(
            f"the truth is on a scale of its own (raw), and the predictions are declared as {scale}; bring them to the truth's scale and "
            "declare --prediction-scale raw (or delta, for means of changes)."
        )
    if truth != "raw" and scale == "raw":
        raise DataError(
            f"the truth is {truth}, and the predictions are declared as raw; bring them to log1p_1e4 and declare that."
        )
    if scale == "counts" and means:
        raise DataError(
            "the predictions hold one row a perturbation and are declared as counts. The truth is the mean over cells of log1p, and the "
            "log of a mean is something else; export the mean of log1p (--prediction-scale log1p_1e4), or cells."
        )
    if scale == "counts" and truth == "log1p_1e4":
        raise DataError(
            "the predictions are declared as counts, and the truth's file holds log1p_1e4 only: over which genes its cells add up to "
            "10,000 is not known. Normalise the predictions as the truth was, and declare --prediction-scale log1p_1e4."
        )
    if scale == "delta" and not means:
        raise DataError(
            "predictions on the scale delta are means of changes, one row a perturbation, and this file holds cells; give cells on the "
            "truth's scale."
        )


@dataclass
class Span:
    """What is seen of the values of a file while it is read."""

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True

    def add(self, block: Any) -> None:
        values: Any = block
        if sparse.issparse(block):
            values = block.data
            if block.nnz < block.shape[0] * block.shape[1]:
                self.low, self.high = min(self.low, 0.0), max(self.high, 0.0)
        if values.size:
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
            self.whole = self.whole and bool(np.array_equal(values, np.rint(values)))

    def check(self, scale: str, where: str) -> None:
        """Refuse values that the declared scale does not have.

        Raises
        ------
        DataError
            Naming the value.
        """
        if scale == "counts" and self.low < 0:
            raise DataError(f"{where}: predictions declared as counts hold negative values (smallest {self.low:g}).")
        if scale == "counts" and not self.whole:
            raise DataError(
                f"{where}: predictions declared as counts hold fractions; if they are log1p of counts per 10,000, declare "
                "--prediction-scale log1p_1e4."
            )
        if scale == "log1p_1e4" and (self.high > LOG1P_1E4_MAX + 1e-3 or (self.whole and self.high > 1)):
            raise DataError(
                f"{where}: predictions declared as log1p_1e4 look like counts or counts per million (largest value {self.high:g}; the "
                f"scale ends at {LOG1P_1E4_MAX:.2f}); normalise each cell to 10,000 and take the natural log of 1 + x."
            )


def check_level(predicted: Array, expected: Array, control: Array, scale: str, where: str) -> None:
    """Refuse predictions whose level is not the truth's: another logarithm, another total per cell, changes instead of values.

    The level of a profile x is <x, c> / <c, c> with c the control mean of its context, and its likeness the cosine of x and c.
    Most genes do not move, so both are near 1 whatever the perturbation. Another scale moves the level of all predictions by
    about the same factor and hardly their likeness: 1.44 for log2, 2 to 3 for a million instead of 10,000. A poor prediction
    that looks like another cell type has another level too, but is unlike the control; it is not refused for that.

    Parameters
    ----------
    predicted, expected, control
        (n, G) predicted, true and control means of the same conditions.

    Raises
    ------
    DataError
        If the median level, relative to the truth's, is outside `LEVELS` with a likeness of at least `ALIKE` of the truth's, or
        outside `EXTREMES`.
    """
    size = (control**2).sum(axis=1)
    if scale == "raw" or not (size > 0).all():
        return
    (level, likeness), (true_level, true_likeness) = (_level(x, control, size) for x in (predicted, expected))
    if true_level <= 0:
        return
    ratio = level / true_level
    alike = likeness >= ALIKE * true_likeness
    if EXTREMES[0] <= ratio <= EXTREMES[1] and (LEVELS[0] <= ratio <= LEVELS[1] or not alike):
        return
    if scale == "delta":
        guess = "do they hold expression rather than changes? Then declare --prediction-scale log1p_1e4."
    elif ratio < EXTREMES[0]:
        guess = "do they hold changes against control? Then declare --prediction-scale delta."
    elif ratio < LEVELS[0]:
        guess = "was log10 taken, or no normalisation done?"
    elif ratio < 1.6:
        guess = "was log2 taken instead of the natural log? Multiply by ln 2."
    else:
        guess = "were cells normalised to another total, such as a million? Normalise them to 10,000."
    raise DataError(
        f"{where}: predictions declared as {scale} do not lie on the truth's scale: their level is {ratio:.2f} times the truth's "
        f"({LEVELS[0]} to {LEVELS[1]} is expected); {guess}"
    )


def _level(x: Array, control: Array, size: Array) -> tuple[float, float]:
    """Median level and likeness of profiles."""
    product = (x * control).sum(axis=1)
    norm = np.sqrt((x**2).sum(axis=1) * size)
    return float(np.median(product / size)), float(np.median(np.divide(product, norm, out=np.zeros(len(x)), where=norm > 0)))
