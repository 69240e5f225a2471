"""Raises an exception on import."""

raise RuntimeError("a cable is loose")
