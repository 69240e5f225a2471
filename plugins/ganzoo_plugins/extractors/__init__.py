"""Feature extractors that scores are computed in."""
