"""Metrics that stand alone; those of one method are in its module."""
