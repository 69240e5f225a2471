"""Objectives with phases of their own."""
