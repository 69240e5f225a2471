"""Datasets, and the sampler that keeps them on the training device."""
