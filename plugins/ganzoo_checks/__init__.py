"""The plugin contract: checks that say what to change.

``ganzoo check NAME``, ``pytest --ganzoo-plugin NAME`` and our own tests/contract run them. A check is a function of a
registered entry that raises ``CheckFailed``; ``catalogue`` says which checks apply to which kind.
"""
