"""MCP on the wire: message by message, without an SDK."""
