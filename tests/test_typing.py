"""What a type checker makes of a script of a user's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import skdygen

pytest.importorskip("mypy")

SCRIPT = """
from pathlib import Path

import numpy as np

import skdygen
from skdygen import DyGenClassifier, DyGenCorrector, make_paper_classifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.denoisers import LogLinearPool
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.inspection import write_report
from skdygen.priors import ConsensusPrior, RidgePrior

texts, right = make_texts(300, random_state=0)
given: list[str] = make_label_noise(right, "symmetric", 0.3, random_state=0).tolist()
clf = DyGenClassifier("frozen", random_state=0, store_trajectories=True)
clf = clf.fit(texts, given, sample_weight=np.ones(300))
issues = clf.label_issues()
first: list[str] = issues["text"].tolist()
table = clf.labels_to_check(50, "random", random_state=0)
sure: np.ndarray = clf.refit(table).accept_labels(max_error=0.05)
found: np.ndarray = clf.predict_proba(["a text"])
clf.save(Path("model.skops"), overwrite=True, bundle=True)
other: DyGenClassifier = DyGenClassifier.load("model.skops", warm=True)
write_report(other, "report.html", texts, title="Labels")
stages = (
    LanguageModelDynamics(trainable_layers="all", n_epochs=3, device="cpu"),
    ConsensusPrior([("words", RidgePrior(view="lexical"))], contamination="auto"),
    LogLinearPool(given_weight=3),
)
DyGenClassifier(*stages, class_weight={"returns": 2.0}, missing_label=-1)
DyGenCorrector(make_paper_classifier(contamination=0.2), min_quality=0.5)
print(skdygen.__version__, clf.classes_, clf.noise_rate_)
"""
# Only what is ours is looked at, which is quicker.
CONFIG = f"""
[mypy]
follow_imports = silent
ignore_missing_imports = True
[mypy-{
    ",".join(
        f"{name}.*"
        for name in (
            "torch",
            "transformers",
            "sentence_transformers",
            "accelerate",
            "huggingface_hub",
            "sklearn",
            "scipy",
            "joblib",
            "matplotlib",
            "jinja2",
            "tqdm",
            "typer",
            "safetensors",
        )
    )
}]
follow_imports = skip
"""
# Each with what mypy says of it.
MISTAKES = {
    'DyGenClassifier(random_state="0")': '"random_state" to "DyGenClassifier"',
    "clf.labels_to_check(50, 'worst')": '2 to "labels_to_check"',
    "clf.save(3)": '1 to "save"',
    'LanguageModelDynamics(precision="fp64")': '"precision" to "LanguageModelDynamics"',
    "wrong: int = clf.predict(texts)": "Incompatible types in assignment",
}


@pytest.mark.long
def test_a_script_of_a_user(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + "\n".join(MISTAKES))
    (tmp_path / "mypy.ini").write_text(CONFIG)
    root = Path(skdygen.__file__).parents[1]
    assert (root / "skdygen" / "py.typed").is_file()
    command = [
        sys.executable, "-m", "mypy", "--strict", "--config-file=mypy.ini", script,
    ]  # fmt: skip
    done = subprocess.run(
        command, env=os.environ | {"MYPYPATH": str(root)}, cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert len(said) == len(MISTAKES) + 1, done.stdout + done.stderr
    n_lines = SCRIPT.count("\n")
    for i, (line, mistake) in enumerate(zip(said, MISTAKES.values(), strict=False), 1):
        assert line.startswith(f"script.py:{n_lines + i}: error: ")
        assert mistake in line
