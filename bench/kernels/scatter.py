"""Compiled loops that count the stored values of each gene and write them gene by gene."""

from __future__ import annotations

import numpy as np
from numba import njit

from .compiled import compiled

_SIGN, _INFINITY, _ALL = np.uint32(0x80000000), np.uint32(0x7F800000), np.uint32(0xFFFFFFFF)


@njit(inline="always")
def _entry(bits, code):
    # Negative floats order backwards as integers, and below the positive ones: flip all their bits, or the sign alone.
    key = bits ^ (_ALL if bits & _SIGN else _SIGN)
    return (np.uint64(key) << np.uint64(32)) | np.uint64(code)


@compiled
def count_rows(indptr, indices, codes, n_genes):
    """Stored values of each gene in rows with a group, and whether genes ascend strictly in every row."""
    counts = np.zeros(n_genes, dtype=np.int64)
    canonical = True
    for i in range(len(codes)):
        last = -1
        for k in range(indptr[i], indptr[i + 1]):
            gene = indices[k]
            canonical &= gene > last
            last = gene
            counts[gene] += codes[i] >= 0
    return counts, canonical


@compiled
def scatter_rows(indptr, indices, bits, codes, first, last, cursor, entries):
    """Entries of the genes first to last - 1 of CSR rows whose genes ascend; returns the number of NaNs."""
    nans = 0
    for i in range(len(codes)):
        if codes[i] < 0:
            continue
        low, stop = indptr[i], indptr[i + 1]
        high = stop if first > 0 else low
        while low < high:
            middle = (low + high) // 2
            if indices[middle] < first:
                low = middle + 1
            else:
                high = middle
        for k in range(low, stop):
            gene = indices[k]
            if gene >= last:
                break
            value = bits[k] & ~_SIGN
            nans += value > _INFINITY
            if value:
                at = cursor[gene - first]
                entries[at] = _entry(bits[k], codes[i])
                cursor[gene - first] = at + 1
    return nans


@compiled
def count_columns(indptr, indices, codes):
    """Stored values of each gene (CSC) in rows with a group, and whether rows ascend strictly in every gene."""
    counts = np.zeros(len(indptr) - 1, dtype=np.int64)
    canonical = True
    for gene in range(len(counts)):
        last = -1
        for k in range(indptr[gene], indptr[gene + 1]):
            canonical &= indices[k] > last
            last = indices[k]
            counts[gene] += codes[last] >= 0
    return counts, canonical


@compiled
def gather_columns(indptr, indices, bits, codes, first, last, cursor, entries):
    """Entries of the genes first to last - 1 of CSC; returns the number of NaNs."""
    nans = 0
    for gene in range(first, last):
        at = cursor[gene - first]
        for k in range(indptr[gene], indptr[gene + 1]):
            code = codes[indices[k]]
            value = bits[k] & ~_SIGN
            if code >= 0 and value:
                nans += value > _INFINITY
                entries[at] = _entry(bits[k], code)
                at += 1
        cursor[gene - first] = at
    return nans


@compiled
def count_dense(bits, codes):
    """Values of each gene other than zero in rows with a group."""
    counts = np.zeros(bits.shape[1], dtype=np.int64)
    for i in range(len(codes)):
        if codes[i] >= 0:
            for gene in range(bits.shape[1]):
                counts[gene] += (bits[i, gene] & ~_SIGN) != 0
    return counts


@compiled
def scatter_dense(bits, codes, first, last, cursor, entries):
    """Entries of the genes first to last - 1 of dense rows; returns the number of NaNs."""
    nans = 0
    for i in range(len(codes)):
        if codes[i] < 0:
            continue
        for gene in range(first, last):
            value = bits[i, gene] & ~_SIGN
            nans += value > _INFINITY
            if value:
                at = cursor[gene - first]
                entries[at] = _entry(bits[i, gene], codes[i])
                cursor[gene - first] = at + 1
    return nans
