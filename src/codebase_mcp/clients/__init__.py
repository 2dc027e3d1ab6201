"""Connects MCP clients to this program: finds them, and edits their configuration files without touching the rest.

`catalog` knows where each client keeps what; `json_entry`, `toml_entry` and `markdown` edit texts, as pure functions;
`files` writes atomically; `record` remembers what an exact undo needs; `installer` puts them together.
"""
