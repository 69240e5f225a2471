"""Generators, discriminators and encoders, with their papers' losses and regularizers."""
