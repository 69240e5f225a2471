"""Recipes: what a YAML file may contain, and how it is read, overridden and checked."""
