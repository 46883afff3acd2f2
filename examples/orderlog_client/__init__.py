"""A client of orderlog's HTTP API: what retries, tokens and own writes ask of a caller, done once.

To use it, copy this folder; it needs httpx and nothing else.
"""

from .client import Client
from .credentials import Bearer, ClientCredentials, Password
from .problem import Problem
from .retries import Patience

__all__ = ["Bearer", "Client", "ClientCredentials", "Password", "Patience", "Problem"]
