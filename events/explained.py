"""The errors that need no traceback, whichever part of a process raises them."""


class Explained(Exception):
    """An error whose sentence is all that a person needs: it says what is wrong, where, and what would be right."""
