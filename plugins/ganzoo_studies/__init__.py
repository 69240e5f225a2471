"""Many training runs: matrices of recipes, datasets and seeds, and their records."""
