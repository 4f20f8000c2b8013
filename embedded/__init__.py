"""PostgreSQL and Redis for a machine that has neither. It is no part of a deployment that has its own."""

from embedded.errors import EmbeddedError
from embedded.servers import Servers, embedded_servers

__all__ = ["EmbeddedError", "Servers", "embedded_servers"]
