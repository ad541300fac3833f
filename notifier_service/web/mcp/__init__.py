"""MCP over HTTP: the gateway before servers that listen, and the tools that ask."""
