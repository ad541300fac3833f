"""``connect``: have the agents of this machine ask here, and take that back."""

from .command import add_commands as add_commands
