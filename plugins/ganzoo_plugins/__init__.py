"""First-party plugins: one module per paper, with its recipes alongside."""
