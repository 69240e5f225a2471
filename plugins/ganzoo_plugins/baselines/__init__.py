"""Recipes put together from other modules' parts."""
