"""The core: sessions, their logs and their permission requests. It knows no HTTP, no MCP and no environment."""
