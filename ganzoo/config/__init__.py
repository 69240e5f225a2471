"""Recipes: what a YAML file may say, and how it is read, changed and checked."""
