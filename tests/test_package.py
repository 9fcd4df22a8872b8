"""What is imported when, and that every public name is there."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

FIT_WITHOUT_TORCH = """
from skdygen import DyGenClassifier
from skdygen.datasets import make_texts
from skdygen.denoisers import TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics
clf = DyGenClassifier(IncrementalDynamics(), denoiser=TransitionMatrixDenoiser())
texts, labels = make_texts(60, random_state=0)
clf.fit(texts, labels).predict(texts)
"""


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import skdygen", "torch sentence_transformers transformers sklearn pandas"),
        (FIT_WITHOUT_TORCH, "torch sentence_transformers transformers"),
    ],
)
def test_what_is_not_needed_is_not_imported(code, unwanted):
    code += f"\nimport sys; sys.exit(str(set({unwanted.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "set()\n"


@pytest.mark.parametrize("name", ["", ".dynamics", ".priors", ".denoisers"])
def test_public_names(name):
    module = importlib.import_module(f"skdygen{name}")
    stub = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text())
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(module.__all__) == sorted(ast.literal_eval(listed))
    for public in module.__all__:
        assert getattr(module, public).__name__ == public
        assert public in dir(module)
