"""Amazon Bedrock's Converse API."""

__all__: list[str] = []
