"""What plugins import, by way of ``ganzoo`` itself."""
