"""Pages for people: the report of a run, and the leaderboard over all recipes."""
