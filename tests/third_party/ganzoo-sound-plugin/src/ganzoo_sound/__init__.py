"""Sound: what a sample is, is in ``sound``; each of the other modules is a plugin."""
