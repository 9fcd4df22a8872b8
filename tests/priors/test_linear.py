import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from skdygen import Trajectories
from skdygen.priors import ClassifierPrior


def test_classifier_of_ones_own(memorised):
    trajectories, _, given = memorised
    prior = ClassifierPrior(DummyClassifier(strategy="prior"), selection="class")
    found = prior.fit_transform(trajectories, given).prior
    shares = np.bincount(prior.clean_codes_) / len(prior.clean_codes_)
    assert_allclose(found, np.tile(shares, (240, 1)))


def test_weights_that_a_classifier_takes_not(memorised):
    trajectories, _, given = memorised
    prior = ClassifierPrior(KNeighborsClassifier())
    weights = np.linspace(0.1, 2, len(given))
    with pytest.raises(ValueError, match=r"sample_weight .* KNeighbors.* takes none"):
        prior.fit(trajectories, given, weights)
    prior.fit(trajectories, given, np.where(weights > 1, 1, 0))  # which are missing


def test_one_class_left_among_the_clean(memorised):
    trajectories, _, _ = memorised
    likely = trajectories.probabilities[..., 1].mean(axis=(1, 2))
    given = np.zeros(240, dtype=int)
    given[likely.argsort()[:2]] = 1  # the least plausible go first
    prior = ClassifierPrior(criterion="margin", contamination=0.9)
    assert_allclose(prior.fit_transform(trajectories, given).prior[:, 0], 1)
    assert set(prior.clean_codes_) == {0}


def test_where_the_classifier_reads(memorised):
    trajectories, _, given = memorised
    e, p = trajectories.embeddings, trajectories.probabilities
    moved = Trajectories(e, p, views={"initial": trajectories.views["initial"][::-1]})
    for view, is_same in [("initial", False), (0, True), (-1, True)]:
        prior = ClassifierPrior(view=view, criterion="margin")
        expected = prior.fit_transform(trajectories, given).prior
        assert np.allclose(prior.transform(moved).prior, expected) is is_same
    # Where nothing from before was recorded, the first epoch stands for it.
    bare = Trajectories(e, p)
    first = ClassifierPrior(view=0).fit_transform(bare, given).prior
    assert_allclose(ClassifierPrior().fit_transform(bare, given).prior, first)
    with pytest.raises(ValueError, match="view=3 of a prior is not among the 3"):
        ClassifierPrior(view=3).fit(trajectories, given)
    with pytest.raises(ValueError, match=r"view='lexical' .* views \['initial'\]"):
        ClassifierPrior(view="lexical").fit(trajectories, given)


def test_a_class_without_clean_texts(memorised):
    """Classifiers are given codes without gaps, which some of them insist on."""

    class Insists(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            assert set(y) == set(range(y.max() + 1))
            return super().fit(X, y, sample_weight)

    trajectories, _, given = memorised
    # The more certain the others are, the less clean these are.
    probabilities = np.zeros_like(trajectories.probabilities)
    probabilities[np.arange(len(given)), :, :, given] = 1
    probabilities[given == 1] = [0.5, 0, 0.5]
    trajectories = Trajectories(trajectories.embeddings, probabilities)
    prior = ClassifierPrior(Insists(max_iter=1000), criterion="margin", view=-1)
    found = prior.fit_transform(trajectories, given).prior
    assert set(prior.clean_codes_) == {0, 2}
    assert (found[:, 1] == 0).all()
    assert_allclose(found.sum(axis=1), 1)
    space = trajectories.embeddings[:, :, -1].reshape(240, -1)
    expected = LogisticRegression(max_iter=1000).fit(
        space[prior.clean_indices_], prior.clean_codes_
    )
    assert_allclose(found[:, [0, 2]], expected.predict_proba(space), atol=1e-4)
