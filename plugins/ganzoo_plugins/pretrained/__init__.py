"""Generators that were trained with ganzoo: weights in half precision, and their cards."""
