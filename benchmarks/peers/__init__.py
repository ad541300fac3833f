"""The servers that are measured, a file each, behind the one interface of `peer`."""
