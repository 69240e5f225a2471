"""Services to which a run sends its events."""
