"""Terms that join either player's loss, and changes to its steps."""
