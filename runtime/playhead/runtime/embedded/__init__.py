"""A Redis server that is started and stopped with the program that uses it."""

__all__: list[str] = []
