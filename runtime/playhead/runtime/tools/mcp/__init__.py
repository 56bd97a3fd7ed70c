"""Tools of MCP servers. Connecting to one needs the extra `mcp`."""

__all__: list[str] = []
