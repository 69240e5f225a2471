"""What is registered, by whom, and with which options."""
