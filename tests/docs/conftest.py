"""Makes the modules beside the tests importable; `docs_runner.py` is run by path and shares them."""

from __future__ import annotations

import sys
from pathlib import Path

__all__: list[str] = []

sys.path.append(str(Path(__file__).resolve().parent))
