"""The contract of the HTTP API: docs/openapi.json, checked in, linted, and only ever extended."""
