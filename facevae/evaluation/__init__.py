"""Evaluation: reconstruction, disentanglement, edits, reports."""
