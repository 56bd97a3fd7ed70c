"""`Agent`, and its runs in this process."""

__all__: list[str] = []
