"""Models that only encode: references and baselines of the identifiability track."""
