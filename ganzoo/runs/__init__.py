"""The run folder: events, pictures and scores on disk."""
