"""The server's routes, one module for each part of its API."""

from clipada.server.routes import history, inspect, page, status

__all__ = ["history", "inspect", "page", "status"]
