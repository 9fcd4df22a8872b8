"""Read here what was saved with other versions of scikit-learn and numpy.

python .ci/other_versions.py save FOLDER    in one environment
python .ci/other_versions.py load FOLDER    in another
"""

import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics

CLASSIFIERS = {
    "incremental": DyGenClassifier(IncrementalDynamics(), random_state=0),
    "frozen": DyGenClassifier(
        LanguageModelDynamics(trainable_layers=0, n_epochs=2), random_state=0
    ),
}


def save(folder):
    """Fit, and save as a folder and as a pickle, with the predictions."""
    texts, labels = make_texts(120, random_state=0)
    given = make_label_noise(labels, "symmetric", 0.3, random_state=0)
    folder.mkdir(parents=True)
    for name, clf in CLASSIFIERS.items():
        clf.fit(texts, given).save(folder / name)
        joblib.dump(clf, folder / f"{name}.joblib")
        np.save(folder / f"{name}.npy", clf.predict_proba(texts))
    (folder / "version").write_text(sklearn.__version__)


def load(folder):
    """Load: an older version's predicts the same, a newer one's is refused."""
    version = (folder / "version").read_text()
    saved, here = (
        tuple(map(int, text.split(".")[:2])) for text in (version, sklearn.__version__)
    )
    assert saved != here, f"both are {version}"
    for name in CLASSIFIERS:
        readers = {"folder": lambda name=name: DyGenClassifier.load(folder / name)}
        # A pickle of SGDClassifier names a module that has moved since.
        if name != "incremental" or saved > here:
            readers["pickle"] = lambda name=name: joblib.load(folder / f"{name}.joblib")
        for kind, read in readers.items():
            check = check_refused if saved > here else check_same
            check(read, np.load(folder / f"{name}.npy"))
            print(f"{name}, {kind}, of scikit-learn {version}: {check.__name__}")


def check_refused(read, expected):
    """Check that the error says what to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        with pytest.raises(ValueError, match="update scikit-learn"):
            read()


def check_same(read, expected):
    """Check predictions, and that nothing is warned of but the version."""
    texts, _ = make_texts(120, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        found = read().predict_proba(texts)
    np.testing.assert_allclose(found, expected, atol=1e-3)


if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
