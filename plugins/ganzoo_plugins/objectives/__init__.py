"""Objectives that define their own training phases."""
