"""The bench: contracts that every room speaks (`contracts`), the engine that runs jobs, and the command line."""
