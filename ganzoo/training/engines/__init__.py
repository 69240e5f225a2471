"""Engines: each makes a faster function from a group of phases. ``train.engine`` names one."""
