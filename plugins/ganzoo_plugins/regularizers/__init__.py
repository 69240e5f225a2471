"""Constraints on either player: terms in its loss, and changes to its steps."""
