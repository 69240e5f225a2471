"""Metrics that belong to no single method; a method's own are in its module."""
