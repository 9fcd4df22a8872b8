"""Fixtures of the package's own tests."""

import importlib.util

from tests.conftest import (  # noqa: F401
    leaves_global_state_alone,
    tiny_model,
    word_texts,
)

if not all(map(importlib.util.find_spec, ("cleanlab", "crowdkit"))):
    collect_ignore_glob = ["test_*.py"]
