"""What runs an encoder's network: engines, their precision, and which of them this machine and network get."""
