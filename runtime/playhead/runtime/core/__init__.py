"""The values and rules of a run. Pure: no module here imports anything outside this folder, or does I/O."""

__all__: list[str] = []
