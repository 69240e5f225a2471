"""Studies: what papers claim, put to the test on networks that two cores can train."""
