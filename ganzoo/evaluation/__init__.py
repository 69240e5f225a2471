"""Evaluation: drawing samples, and scoring them under a stated protocol."""
