"""Differentiable changes of what the discriminator sees."""
