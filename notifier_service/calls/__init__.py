"""A tool call as the service sees it, whoever makes it: rated, asked about, run, and told of."""
