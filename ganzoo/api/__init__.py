"""Definitions of the public names; plugins import them from ``ganzoo``."""
