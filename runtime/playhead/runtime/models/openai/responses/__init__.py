"""OpenAI's Responses API, the second wire of `OpenAIModel`."""

__all__: list[str] = []
