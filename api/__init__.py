"""The edge: HTTP, WebSocket, command line, environment."""
