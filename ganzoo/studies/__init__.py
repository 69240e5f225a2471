"""Many runs: matrices of recipes, datasets and seeds, and their records."""
