"""Constraints on either player: terms added to its loss, and changes to its steps."""
