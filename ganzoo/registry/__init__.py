"""The registry: finds plugins, stores what they register, checks options, reads YAML strictly."""
