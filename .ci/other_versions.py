"""Read here what was saved with other versions of scikit-learn, numpy and skops.

python .ci/other_versions.py save FOLDER    in one environment
python .ci/other_versions.py load FOLDER    in another
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

import skdygen
from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics

FINAL = make_pipeline(TfidfVectorizer(), SGDClassifier(loss="log_loss", random_state=0))
CLASSIFIERS = {
    "incremental": DyGenClassifier(IncrementalDynamics(), random_state=0),
    "final": DyGenClassifier(
        IncrementalDynamics(), final_estimator=FINAL, random_state=0
    ),
    "frozen": DyGenClassifier(
        LanguageModelDynamics(trainable_layers=0, n_epochs=2), random_state=0
    ),
}


def save(folder):
    """Fit and save, with the predictions."""
    texts, labels = make_texts(120, random_state=0)
    given = make_label_noise(labels, "symmetric", 0.3, random_state=0)
    folder.mkdir(parents=True)
    for name, clf in CLASSIFIERS.items():
        clf.fit(texts, given).save(folder / f"{name}.skops")
        np.save(folder / f"{name}.npy", clf.predict_proba(texts))
    (folder / "version").write_text(sklearn.__version__)


def load(folder):
    """Load: an older one predicts the same, and scikit-learn warns of any other."""
    version = (folder / "version").read_text()
    saved, here = (
        tuple(map(int, text.split(".")[:2])) for text in (version, sklearn.__version__)
    )
    assert saved != here, f"both are {version}"
    texts, _ = make_texts(120, random_state=0)
    for name in CLASSIFIERS:
        with pytest.warns(InconsistentVersionWarning, match=version):
            clf = skdygen.load(folder / f"{name}.skops")
        if saved < here:
            expected = np.load(folder / f"{name}.npy")
            np.testing.assert_allclose(clf.predict_proba(texts), expected, atol=1e-3)
        print(f"{name}, saved with scikit-learn {version}: as expected")


if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
