"""First-party plugins: one paper, one page."""
