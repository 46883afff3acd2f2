"""Real servers for tests, and for trying the distributed way on one machine."""
