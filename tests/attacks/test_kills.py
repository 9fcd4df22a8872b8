"""Kills of the command line; those of a fit are in `test_checkpoint.py`."""

import os
import signal
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import skdygen
from skdygen._cli import _fit
from tests.attacks import cases, in_a_process
from tests.conftest import make_word_texts
from tests.test_cli import make_quick, names_in, read, run, write

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL"),
]

OUTPUTS = ["a.cleaned.csv", "model.skops", "report.html", "who.csv"]


def clean_and_die(folder, seed, kill_at=None):
    """Run a command, but for a SIGKILL.

    At the moment of that number, from 0, of those at which a file of the folder is
    opened, written, renamed or removed; or, if it is no whole number, after so many
    seconds.
    """
    n_moments = 0

    def count():
        nonlocal n_moments
        if n_moments == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        n_moments += 1

    def audit(event, args):
        of_files = ("open", "os.chmod", "os.rename", "os.remove")
        if event in of_files and str(folder) in str(args[0]):
            count()
            sys.setprofile(profile)  # from the first file on

    def profile(frame, event, function):
        if event == "c_return" and function.__name__ in ("open", "write", "close"):
            count()

    sys.addaudithook(audit)
    if isinstance(kill_at, float):
        signal.setitimer(signal.ITIMER_REAL, kill_at)  # as sudden, if nobody handles it
    _fit.make_classifier = make_quick
    model, report, who = (folder / name for name in OUTPUTS[1:])
    options = ["--text", "Body", "--label", "by *", "--seed", seed, "--force"]
    options += ["--model-out", model, "--report", report, "--annotators", who]
    code = run("clean", folder / "a.csv", *options, "--quiet")
    (folder / "n_moments").write_text(str(n_moments))
    sys.exit(code)


def results(folder):
    """Read every output; an error says that one is not whole."""
    clf = skdygen.load(folder / "model.skops")
    texts = read(folder / "a.csv")["Body"].tolist()
    assert clf._text_column == "Body"
    report = (folder / "report.html").read_text()
    assert report.rstrip().endswith("</html>")
    tables = [read(folder / name).to_csv() for name in OUTPUTS[::3]]
    seed = report.count("random_state=1")
    return [clf.predict_proba(texts).tobytes(), *tables, seed]


def test_kills_of_the_command_line(tmp_path):
    """Every output is the old or the new one, and the model is whole by itself."""
    texts, labels = make_word_texts(60)
    table = {"Body": texts, "text": "a cat"}  # what is guessed would be the latter
    table |= {"by a": labels, "by b": np.roll(labels, 1)}
    write(pd.DataFrame(table), tmp_path / "a.csv")
    assert in_a_process(clean_and_die, tmp_path, 1) == 0
    new = results(tmp_path)
    assert in_a_process(clean_and_die, tmp_path, 0) == 0
    old = results(tmp_path)
    assert all(one != other for one, other in zip(old, new, strict=True))
    n_moments = int((tmp_path / "n_moments").read_text())
    n_killed = 0
    for number in cases(30):
        rng = np.random.RandomState(number)
        kill_at = rng.rand() * 3 if number % 3 == 2 else rng.randint(n_moments)
        code = in_a_process(clean_and_die, tmp_path, 1, kill_at)
        n_killed += code != 0
        for found, *either in zip(results(tmp_path), old, new, strict=True):
            assert found in either, f"case {number}"
    assert n_killed > 0
    print(f"{n_killed} killed, one moment of {n_moments}, or by time")
    # What is half-written has names of its own.
    names = {name for name in names_in(tmp_path) if not name.endswith(".part")}
    assert names == {"a.csv", "n_moments", *OUTPUTS}
    model, out = tmp_path / "model.skops", tmp_path / "out.csv"
    assert run("predict", model, tmp_path / "a.csv", "--out", out, "--quiet") == 0
    assert_array_equal(read(out)["label_predicted"], skdygen.load(model).predict(texts))
