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
    given = make_label_noise(labels, "symmetric", 0.3, random_state=0)
    given = np.where(np.arange(len(given)) % 12 == 0, "none", given)
    texts = [*texts]
    clf = DyGenClassifier(
        IncrementalDynamics(n_epochs=4),
        correction_threshold=0.6,
        missing_label="none",
        random_state=0,
    ).fit(texts, given)
    return texts, labels, given, clf


@pytest.fixture(scope="session")
def recorded(case):
    """Dynamics of these texts, with an embedding from before the training."""
    texts, _, _, clf = case
    replayed = clf.dynamics_.transform(texts)
    initial = replayed.embeddings[:, 0, 0] + np.random.RandomState(0).randn(240, 1)
    return Trajectories(
        replayed.embeddings, replayed.probabilities, clf.classes_, initial=initial
    )
