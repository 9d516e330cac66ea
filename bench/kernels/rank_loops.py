"""Compiled loops of the rank tests: sort the entries of a gene, sweep over them, or merge them with sorted controls.

They are in one file because a compiled function in numba's cache does not notice when a function of another file that it
calls has changed.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .compiled import compiled


@compiled
def sort_entries(entries, scratch, histogram):
    """Sort uint64 entries by key; returns the sorted array, which is `entries` or `scratch`.

    Counting sort by 11 bits of the key at a time, least significant first; by 8 bits where there are so few entries that
    the counts would take longer than the entries; insertion sort of still fewer. Entries of equal keys keep their order.

    Parameters
    ----------
    scratch
        As long as `entries`.
    histogram
        (3, 2048) int64 work space.
    """
    n = len(entries)
    if n <= 40:
        for i in range(1, n):
            entry = entries[i]
            j = i - 1
            while j >= 0 and (entries[j] >> np.uint64(32)) > (entry >> np.uint64(32)):
                entries[j + 1] = entries[j]
                j -= 1
            entries[j + 1] = entry
        return entries
    if n <= 512:
        return _sort_by_bytes(entries, scratch, histogram[0])
    histogram[:] = 0
    for i in range(n):
        key = entries[i] >> np.uint64(32)
        histogram[0, key & np.uint64(2047)] += 1
        histogram[1, (key >> np.uint64(11)) & np.uint64(2047)] += 1
        histogram[2, key >> np.uint64(22)] += 1
    source, target = entries, scratch
    for step in range(3):
        shift = np.uint64(32 + 11 * step)
        counts = histogram[step]
        if counts[(source[0] >> shift) & np.uint64(2047)] < n:
            _move(source, target, counts, shift, np.uint64(2047))
            source, target = target, source
    return source


@compiled
def _sort_by_bytes(entries, scratch, counts):
    n = len(entries)
    counts[:1024] = 0
    for i in range(n):
        key = entries[i] >> np.uint64(32)
        counts[key & np.uint64(255)] += 1
        counts[np.uint64(256) + ((key >> np.uint64(8)) & np.uint64(255))] += 1
        counts[np.uint64(512) + ((key >> np.uint64(16)) & np.uint64(255))] += 1
        counts[np.uint64(768) + (key >> np.uint64(24))] += 1
    source, target = entries, scratch
    for step in range(4):
        shift = np.uint64(32 + 8 * step)
        own = counts[256 * step : 256 * (step + 1)]
        if own[(source[0] >> shift) & np.uint64(255)] < n:
            _move(source, target, own, shift, np.uint64(255))
            source, target = target, source
    return source


@njit(inline="always")
def _move(source, target, counts, shift, mask):
    """One pass of a counting sort; the counts of each digit become the places behind its entries."""
    total = 0
    for digit in range(len(counts)):
        here = counts[digit]
        counts[digit] = total
        total += here
    for i in range(len(source)):
        entry = source[i]
        digit = (entry >> shift) & mask
        target[counts[digit]] = entry
        counts[digit] += 1


@compiled
def cubed(t):
    """t^3 - t."""
    # In floating point, since t^3 of two million cells does not fit in 64 bits.
    t = np.float64(t)
    return t * (t * t - 1.0)


@compiled
def two_sided_p(u2, ties, n, m, continuity):
    """p-value of twice U; NaN where all values are tied. Otherwise the factor with the tie term is at least 3."""
    total = np.float64(n + m)
    factor = total + 1.0 - ties / (total * (total - 1.0))
    if not factor >= 1.0:
        return np.nan
    pairs = np.float64(n) * np.float64(m)
    z = (abs(0.5 * u2 - 0.5 * pairs) - (0.5 if continuity else 0.0)) / math.sqrt(pairs / 12.0 * factor)
    return min(1.0, math.erfc(z / math.sqrt(2.0)))


@compiled
def sweep(start, stop, entries, controls, sizes, continuity, first, auc, p):
    """Sort and test each gene of a range; the results go to the columns from `first` on."""
    n_groups = len(sizes)
    longest = 0
    for gene in range(len(start)):
        longest = max(longest, stop[gene] - start[gene])
    scratch = np.empty(longest, dtype=np.uint64)
    histogram = np.empty((3, 2048), dtype=np.int64)
    u2 = np.empty(n_groups, dtype=np.int64)  # twice U
    less = np.empty(n_groups, dtype=np.int64)  # values of each group below the current one
    here = np.zeros(n_groups, dtype=np.int64)  # values of each group equal to the current one
    zeros = np.empty(n_groups, dtype=np.int64)
    ties = np.empty(n_groups, dtype=np.float64)  # sum of t^3 - t less the control's own
    own = np.empty(n_groups, dtype=np.float64)  # sum of t^3 - t of a control alone
    for gene in range(len(start)):
        n = stop[gene] - start[gene]
        values = sort_entries(entries[start[gene] : stop[gene]], scratch[:n], histogram)
        u2[:] = 0
        less[:] = 0
        ties[:] = 0.0
        own[:] = 0.0
        zeros[:] = sizes
        for i in range(n):
            zeros[values[i] & np.uint64(0xFFFFFFFF)] -= 1
        before_zero = True
        i = 0
        while True:
            if before_zero and (i == n or values[i] >> np.uint64(63)):
                before_zero = False
                for group in range(n_groups):
                    control = controls[group]
                    if control >= 0:
                        u2[group] += zeros[group] * (2 * less[control] + zeros[control])
                        ties[group] += cubed(zeros[group] + zeros[control]) - cubed(zeros[control])
                    own[group] += cubed(zeros[group])
                for group in range(n_groups):
                    less[group] += zeros[group]
            if i == n:
                break
            j = i + 1
            while j < n and (values[j] ^ values[i]) < np.uint64(0x100000000):
                j += 1
            if j == i + 1:
                group = np.int64(values[i] & np.uint64(0xFFFFFFFF))
                if controls[group] >= 0:
                    u2[group] += 2 * less[controls[group]]
                less[group] += 1
            else:
                for k in range(i, j):
                    here[values[k] & np.uint64(0xFFFFFFFF)] += 1
                # A group that has been dealt with is marked by a minus sign, since others may still need its number.
                for k in range(i, j):
                    group = np.int64(values[k] & np.uint64(0xFFFFFFFF))
                    t = here[group]
                    if t > 0:
                        control = controls[group]
                        if control >= 0:
                            c = abs(here[control])
                            u2[group] += t * (2 * less[control] + c)
                            ties[group] += cubed(t + c) - cubed(c)
                        own[group] += cubed(t)
                        here[group] = -t
                for k in range(i, j):
                    group = np.int64(values[k] & np.uint64(0xFFFFFFFF))
                    less[group] -= here[group]
                    here[group] = 0
            i = j
        for group in range(n_groups):
            control = controls[group]
            if control >= 0 and control != group and sizes[group] > 0 and sizes[control] > 0:
                n_a, n_b = sizes[group], sizes[control]
                auc[group, first + gene] = 0.5 * u2[group] / (np.float64(n_a) * np.float64(n_b))
                p[group, first + gene] = two_sided_p(u2[group], ties[group] + own[control], n_a, n_b, continuity)


@compiled
def sorted_keys(start, stop, entries, first, ties):
    """Sorted keys of each gene one after the other; sums t^3 - t of blocks of equal values other than zero into `ties`."""
    total, longest = 0, 0
    for gene in range(len(start)):
        total += stop[gene] - start[gene]
        longest = max(longest, stop[gene] - start[gene])
    keys = np.empty(total, dtype=np.uint32)
    scratch = np.empty(longest, dtype=np.uint64)
    histogram = np.empty((3, 2048), dtype=np.int64)
    at = 0
    for gene in range(len(start)):
        n = stop[gene] - start[gene]
        values = sort_entries(entries[start[gene] : stop[gene]], scratch[:n], histogram)
        run = 0
        for i in range(n):
            keys[at + i] = np.uint32(values[i] >> np.uint64(32))
            run = run + 1 if i > 0 and keys[at + i] == keys[at + i - 1] else 1
            if i == n - 1 or (values[i + 1] >> np.uint64(32)) != keys[at + i]:
                ties[first + gene] += cubed(run)
        at += n
    return keys


@compiled
def _lower_bound(keys, low, high, key):
    """First position in ``keys[low:high]``, ascending, that is not below `key`; steps double, since it is mostly near."""
    step = 1
    while low + step < high and keys[low + step] < key:
        low += step
        step *= 2
    high = min(high, low + step)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def merge(start, stop, entries, first, n, m, keys, bounds, own, continuity, auc, p):
    """Sort each gene of a range of a group of n cells and test it against the sorted keys of m controls."""
    longest = 0
    for gene in range(len(start)):
        longest = max(longest, stop[gene] - start[gene])
    scratch = np.empty(longest, dtype=np.uint64)
    histogram = np.empty((3, 2048), dtype=np.int64)
    for gene in range(len(start)):
        size = stop[gene] - start[gene]
        values = sort_entries(entries[start[gene] : stop[gene]], scratch[:size], histogram)
        low, high = bounds[first + gene], bounds[first + gene + 1]
        group_zeros, control_zeros = n - size, m - (high - low)
        negative = _lower_bound(keys, low, high, np.uint32(0x80000000)) - low
        u2 = np.int64(group_zeros) * (2 * negative + control_zeros)
        ties = own[first + gene] + cubed(group_zeros + control_zeros)
        at, i = low, 0
        while i < size:
            key = np.uint32(values[i] >> np.uint64(32))
            j = i + 1
            while j < size and np.uint32(values[j] >> np.uint64(32)) == key:
                j += 1
            at = _lower_bound(keys, at, high, key)
            less = at - low
            if key >= np.uint32(0x80000000):
                less += control_zeros
            equal = 0
            while at < high and keys[at] == key:
                at += 1
                equal += 1
            u2 += (j - i) * (2 * less + equal)
            ties += cubed(j - i + equal) - cubed(equal)
            i = j
        auc[first + gene] = 0.5 * u2 / (np.float64(n) * np.float64(m))
        p[first + gene] = two_sided_p(u2, ties, n, m, continuity)
