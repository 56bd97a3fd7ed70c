"""Makes the modules beside the tests importable; `chaos_logs.py` makes the logs that all of them break."""

from __future__ import annotations

import sys
from pathlib import Path

__all__: list[str] = []

sys.path.append(str(Path(__file__).resolve().parent))
