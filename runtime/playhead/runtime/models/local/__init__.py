"""A local GGUF file as a model, served by its own process."""

__all__: list[str] = []
