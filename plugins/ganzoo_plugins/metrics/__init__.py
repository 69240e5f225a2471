"""Metrics that do not belong to a single method; those that do are in the method's module."""
