"""Leaderboards: rendering, and the published boards."""
