"""The machine: compose a grid, train what is missing, keep records, make tables."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if sys.path[:1] != [str(ROOT)]:  # `methods` and `datasets` are this checkout's, whatever else of those names is installed
    sys.path.insert(0, str(ROOT))
