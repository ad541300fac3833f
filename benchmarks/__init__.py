"""What the service delivers, measured beside its peers on this machine: `make bench`."""
