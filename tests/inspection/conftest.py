from copy import copy

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from skdygen import DyGenClassifier, Trajectories
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import IncrementalDynamics

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def case():
    """Texts, right and given labels, and a classifier fitted on them."""
    texts, labels = make_texts(240, random_state=0)
    labels = np.where(labels == "billing", "<i>billing</i>", labels)
    given = make_label_noise(labels, "symmetric", 0.3, random_state=0)
    given = np.where(np.arange(240) % 12 == 0, "none", given)
    clf = DyGenClassifier(IncrementalDynamics(n_epochs=4), random_state=0)
    clf.set_params(missing_label="none", correction_threshold=0.6).fit(texts, given)
    return list(texts), labels, given, clf


@pytest.fixture(scope="session")
def stored(case):
    """The classifier, which has kept its trajectories and cannot replay any."""
    clf = copy(case[-1])
    found = clf.dynamics_.transform(case[0])
    initial = found.embeddings[:, 0, 0] + np.random.RandomState(0).randn(240, 1)
    parts = found.embeddings, found.probabilities, found.classes
    clf.trajectories_ = Trajectories(*parts, views={"initial": initial})
    del clf.dynamics_
    clf._texts = clf._fingerprint = None
    return clf


@pytest.fixture(scope="session")
def sure(stored, case):
    """The same, were it sure of every label that is given."""
    clf = copy(stored)
    clf.label_distributions_ = (case[2][:, None] == clf.classes_) * 0.9 + 0.1 / 6
    return clf
