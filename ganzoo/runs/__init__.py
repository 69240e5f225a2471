"""Runs: run folders, checkpoints, resume, diagnosis."""
