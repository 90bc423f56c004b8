"""Routes of the server, one module for each part of the API."""

from clipada.server.routes import history, inspect, page, status

__all__ = ["history", "inspect", "page", "status"]
