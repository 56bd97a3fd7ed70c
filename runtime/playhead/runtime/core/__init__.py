"""What a run is, as values and rules. Pure: nothing here imports what is outside this folder, or does I/O."""

__all__: list[str] = []
