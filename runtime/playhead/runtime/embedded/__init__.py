"""A Redis server that starts and stops with the program that uses it."""

__all__: list[str] = []
