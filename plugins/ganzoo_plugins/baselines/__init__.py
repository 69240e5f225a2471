"""Recipes that combine the parts of other modules."""
