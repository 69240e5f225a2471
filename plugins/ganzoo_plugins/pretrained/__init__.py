"""Generators that were trained with ganzoo: weights, with matrices in half precision, and cards."""
