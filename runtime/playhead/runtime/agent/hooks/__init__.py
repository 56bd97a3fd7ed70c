"""An agent's hooks: functions that are called at events of its runs and may change what happens next."""

__all__: list[str] = []
