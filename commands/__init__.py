"""What may be asked, and the answer."""
