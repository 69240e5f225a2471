"""Generators, discriminators and encoders, with what their papers train them by."""
