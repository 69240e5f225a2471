"""The plugin contract: functions that check a registered entry, and say what to change.

``ganzoo check NAME``, ``pytest --ganzoo-plugin NAME`` and our own tests/contract run them.
"""
