"""The benchmark: compose a grid, train missing trials, store records, make tables."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # contains benchmark/, datasets/, methods/ and conf/: the checkout, or a wheel's suite/
