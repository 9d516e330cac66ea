"""Official implementations, each run by an interpreter of its own; nothing of them is a dependency."""
