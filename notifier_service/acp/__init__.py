"""The Agent Client Protocol: between an editor and an agent, so that a person is asked before the agent does something.

Protocol version 1, JSON-RPC 2.0 as one object a line (agentclientprotocol.com, schema of 2026-09).
"""
