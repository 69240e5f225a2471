"""What everything that a plugin registers must do, as checks that say what to change.

Three doors lead here: ``ganzoo check NAME``, ``pytest --ganzoo-plugin NAME``, and our own tests/contract. Each check is
a function of an entry that raises ``Broken``; ``catalogue`` says which applies to which kind.
"""
