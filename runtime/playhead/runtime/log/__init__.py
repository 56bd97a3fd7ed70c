"""The log: one interface, the pure rules, a memory backend and a Redis backend."""

__all__: list[str] = []
