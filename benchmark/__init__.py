"""The machine: compose a grid, train what is missing, keep records, make tables."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # holds benchmark/, datasets/, methods/ and conf/: the checkout, or a wheel's suite/
