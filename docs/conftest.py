"""Doctests of the pages: in a folder of their own, with one thread."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

torch.set_num_threads(1)

# Sphinx runs these.
collect_ignore_glob = ["conf.py", "_build/*", "auto_examples/*", "code/*", "examples/*"]


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent / "code")
