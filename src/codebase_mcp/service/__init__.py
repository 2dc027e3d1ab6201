"""What the product can do, as one object. The server and the command line are thin adapters over it."""

from codebase_mcp.service.facade import Service

__all__ = ["Service"]
