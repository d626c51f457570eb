"""The code blocks of the documentation are tests (tests/documents.py), and tests run on one worker more than the machine has cores."""

from collections.abc import Generator

import pytest
from sybil import Sybil

from tests import documents

collect_ignore = ["docs/conf.py", "examples"]  # their import configures a site and registers methods

pytest_collect_file = Sybil(
    parsers=documents.PARSERS,
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md"],
    setup=documents.begin,
    teardown=documents.end,
).pytest()


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Count one more than xdist does, because the tests on SLURM mostly wait."""
    return (yield) + 1
