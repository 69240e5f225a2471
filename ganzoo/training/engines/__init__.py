"""Engines: each makes a faster function of a group of phases. ``train.engine`` names one."""
