"""Local code search for AI assistants: durable background indexing into PostgreSQL, served over MCP."""

__version__ = "0.2.0"
