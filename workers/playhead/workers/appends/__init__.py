"""Records on their way to the log."""

__all__: list[str] = []
