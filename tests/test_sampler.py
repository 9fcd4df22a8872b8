import numpy as np
import pandas as pd
import pytest
from imblearn.pipeline import Pipeline, make_pipeline
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skdygen import DyGenClassifier, DyGenCorrector
from skdygen.datasets import make_label_noise
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics
from tests.conftest import make_word_texts


def make_corrector(**params):
    classifier = DyGenClassifier(
        IncrementalDynamics(), denoiser=DirichletVAE(n_epochs=5),
        correction_threshold=0.5, random_state=0,
    )  # fmt: skip
    return DyGenCorrector(classifier, **params)


@pytest.fixture(scope="module")
def noisy_data():
    texts, labels = make_word_texts(300)
    return texts, labels, make_label_noise(labels, "symmetric", 0.4, random_state=0)


def test_labels_are_those_of_the_classifier(noisy_data):
    texts, _, noisy = noisy_data
    corrector = make_corrector()
    found, corrected = corrector.fit_resample(texts, noisy)
    expected = clone(corrector.classifier).fit(texts, noisy)
    assert found == texts
    assert_array_equal(corrected, expected.transduction_)
    assert not hasattr(corrector.classifier, "classes_")  # what was given is cloned


@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_unsure_texts_are_left_out(noisy_data, container):
    texts, labels, noisy = noisy_data
    corrector = make_corrector(min_quality=0.8)
    kept, corrected = corrector.fit_resample(container(texts), noisy)
    rows = corrector.sample_indices_
    assert 0 < len(rows) < len(texts)
    assert isinstance(kept, type(container(texts)))
    assert list(kept) == [texts[i] for i in rows]
    _, everything = make_corrector().fit_resample(texts, noisy)
    assert (corrected == labels[rows]).mean() > (everything == labels).mean()
    with pytest.raises(ValueError, match=r"min_quality=1\.0 leaves 0 of 300"):
        make_corrector(min_quality=1.0).fit_resample(texts, noisy)


def test_in_a_pipeline_of_imbalanced_learn(noisy_data):
    texts, _, noisy = noisy_data
    classifier = make_pipeline(TfidfVectorizer(), LogisticRegression())
    corrected = Pipeline([("correct", make_corrector()), *clone(classifier).steps])
    new_texts, new_labels = make_word_texts(200, seed=1)
    plain = classifier.fit(texts, noisy).score(new_texts, new_labels)
    assert corrected.fit(texts, noisy).score(new_texts, new_labels) > plain
    alone = make_pipeline(*(clone(step) for _, step in classifier.steps))
    alone.fit(*make_corrector().fit_resample(texts, noisy))
    assert_array_equal(
        corrected.predict_proba(new_texts), alone.predict_proba(new_texts)
    )
    grid = {"correct__min_quality": [0.0, 0.7]}
    search = GridSearchCV(corrected, grid, cv=2).fit(texts, noisy)
    assert search.score(new_texts, new_labels) > plain


def test_parameters_of_the_classifier_that_is_the_default():
    corrector = DyGenCorrector().set_params(classifier__random_state=3, min_quality=0.1)
    assert corrector.classifier.random_state == 3
    assert corrector.min_quality == 0.1
