"""Raises on import."""

raise RuntimeError("a cable is loose")
