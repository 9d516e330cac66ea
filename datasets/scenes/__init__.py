"""Pictures of scenes whose variables are known: rendered here, or read from published files."""
