"""The engine: plan, execute, score, store. It reaches models, data sets, splits and metrics only through the registry."""
