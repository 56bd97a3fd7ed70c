"""What `playhead doctor` checks: each check is a value, made by a pure function of what was gathered."""
