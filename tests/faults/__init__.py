"""Processes are killed, stopped and cut off; the promises hold."""
