"""Places that a run's events are sent to."""
