"""How much code a fit passes through: what somebody has to read to follow it."""

import ast
import sys
from pathlib import Path

import skdygen
from tests.test_classifier import NOISY, TEXTS, make_tiny

PACKAGE = Path(skdygen.__file__).parent


def test_files_that_a_default_fit_passes(tiny_model):
    clf = make_tiny(tiny_model).set_params(prior=None, denoiser=None)
    clf.fit(TEXTS, NOISY)  # what is imported late is imported now
    passed = set()

    def note(frame, event, arg):
        is_call = event == "call" and frame.f_code.co_name != "<module>"
        if is_call and frame.f_code.co_filename.startswith(str(PACKAGE)):
            passed.add(str(Path(frame.f_code.co_filename).relative_to(PACKAGE)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        clf.fit(TEXTS, NOISY)
    finally:
        sys.setprofile(before)
    assert {"_classifier.py", "dynamics/_engine.py", "_decisions.py"} <= passed
    assert len(passed) <= 22, sorted(passed)


def test_few_imports_stand_inside_functions():
    inside = []
    for path in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    if isinstance(node, (ast.Import, ast.ImportFrom)):
                        inside.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert len(set(inside)) <= 10, sorted(set(inside))
