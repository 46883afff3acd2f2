"""What happened, where it is kept, how it leaves."""
