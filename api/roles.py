"""The words for what a caller may do: roles, and the scopes of tokens."""

from typing import Literal, get_args

Role = Literal["customer", "staff", "analyst", "admin"]
ROLES: frozenset[str] = frozenset(get_args(Role))

Scope = Literal["orderlog.read", "orderlog.write"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
READ, WRITE = SCOPES
"""What a token may be used for, within its roles: to read, or to read and write. A token without either has both."""
