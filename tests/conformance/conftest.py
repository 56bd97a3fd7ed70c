"""Makes the modules beside the tests importable: the worker process, which is run by path, shares them."""

from __future__ import annotations

import sys
from pathlib import Path

__all__: list[str] = []

sys.path.append(str(Path(__file__).resolve().parent))
