"""First-party plugins: one paper, one module, its recipes beside it."""
