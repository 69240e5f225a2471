"""The zoo as a matrix: recipes, datasets and seeds, trained one after another, with one line in a file for each."""
