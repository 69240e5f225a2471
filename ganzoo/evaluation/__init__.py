"""Evaluation: draw samples, and score them under a stated protocol."""
