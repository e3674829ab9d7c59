"""Latent space: paths, directions, statistics, diagnostics."""
