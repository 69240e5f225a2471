"""Runs: run folders, checkpoints, resuming and diagnosis."""
