"""Pages made from runs and records."""
