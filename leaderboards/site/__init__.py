"""The published boards as a folder that a browser opens: pages, and data files that are pure functions of the records."""
