"""Image translation in small: each module below is a plugin of its own."""
