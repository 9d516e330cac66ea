"""Generators of screens whose latent variables are known."""
