"""What `skdygen info` says of a file."""

import datetime
import re

import sklearn

from skdygen._cli import main
from skdygen.dynamics import LanguageModelDynamics
from tests.test_storage import make_fast, write_as_a_stranger


def test_the_card_says_what_is_in_the_file(word_texts, tmp_path, capsys):
    texts, _, noisy = word_texts
    path = tmp_path / "model.skops"
    clf = make_fast(missing_label="none").fit([*texts, "a cat"], [*noisy, "none"])
    clf.save(path)
    assert main(["info", str(path)]) == 0
    said = dict(re.findall(r"^(\S.*?)  +(.*)$", capsys.readouterr().out, re.MULTILINE))
    n_animals = (noisy == "animal").sum()
    expected = {
        "estimator": "DyGenClassifier",
        "language model": "needs none",
        "texts": "121 (120 with a label)",
        "classes": f"2: animal ({n_animals}), fruit ({120 - n_animals})",
        "labels verified": "0",
        "labels estimated wrong": f"{clf.noise_rate_:.1%} (a guess, see skdygen check)",
        "scikit-learn": sklearn.__version__,
    }
    assert said.items() >= expected.items()
    assert said.keys() >= {"torch", "transformers", "sentence-transformers", "Python"}
    date = datetime.datetime.fromisoformat(said["saved"])
    assert abs(datetime.datetime.now(datetime.timezone.utc) - date).days == 0
    clf.fit(texts, noisy, verified={0: "fruit", 5: "fruit"}).save(path, overwrite=True)
    assert main(["info", str(path)]) == 0
    low, high = clf.noise_rate_interval_
    assert f"interval: {low:.1%} to {high:.1%}" in capsys.readouterr().out
    write_as_a_stranger(make_fast(), path)  # of an older version
    assert main(["info", str(path)]) == 0
    assert "estimator                 unknown" in capsys.readouterr().out
    LanguageModelDynamics("a/name").save(path.with_name("stage"))
    assert main(["info", str(path.with_name("stage"))]) == 0
    assert "model='a/name'" in capsys.readouterr().out
