"""Arithmetic on arrays that the engine and the metrics share: tests of ranks, distances of samples, projections. Knows no nouns."""
