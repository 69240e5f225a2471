"""Datasets, and extractors that only their own dataset needs."""
