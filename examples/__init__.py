"""What others may start from; nothing of orderlog itself uses it."""
