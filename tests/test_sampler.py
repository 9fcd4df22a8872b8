import numpy as np
import pandas as pd
import pytest
from imblearn.pipeline import make_pipeline
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skdygen import DyGenCorrector
from skdygen.datasets import make_label_noise
from tests.conftest import make_word_texts
from tests.test_classifier import FINAL, make_fast

TEXTS, LABELS = make_word_texts(300)
NOISY = make_label_noise(LABELS, "symmetric", 0.4, random_state=0)


def make_corrector(**params):
    return DyGenCorrector(make_fast(correction_threshold=0.5), **params)


def test_labels_are_those_of_the_classifier():
    corrector, weights = make_corrector(), np.arange(300) % 3
    found, corrected = corrector.fit_resample(TEXTS, NOISY, weights)
    expected = clone(corrector.classifier).fit(TEXTS, NOISY, weights)
    assert found == TEXTS
    assert_array_equal(corrected, expected.transduction_)
    assert not hasattr(corrector.classifier, "classes_")  # what was given is cloned


@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_unsure_texts_are_left_out(container):
    corrector = make_corrector(min_quality=0.8)
    kept, corrected = corrector.fit_resample(container(TEXTS), NOISY)
    rows = corrector.sample_indices_
    assert 0 < len(rows) < len(TEXTS)
    assert isinstance(kept, type(container(TEXTS)))
    assert list(kept) == [TEXTS[i] for i in rows]
    _, everything = make_corrector().fit_resample(TEXTS, NOISY)
    assert (corrected == LABELS[rows]).mean() > (everything == LABELS).mean()
    with pytest.raises(ValueError, match=r"min_quality=1\.0 leaves 0 of 300"):
        corrector.set_params(min_quality=1.0).fit_resample(TEXTS, NOISY)
    assert not hasattr(corrector, "classifier_")  # the fit before is forgotten


def test_in_a_pipeline_of_imbalanced_learn():
    new_texts, new_labels = make_word_texts(200, seed=1)
    plain = clone(FINAL).fit(TEXTS, NOISY).score(new_texts, new_labels)
    corrected = make_pipeline(make_corrector(), *clone(FINAL)).fit(TEXTS, NOISY)
    assert corrected.score(new_texts, new_labels) > plain
    alone = clone(FINAL).fit(*make_corrector().fit_resample(TEXTS, NOISY))
    assert_array_equal(
        corrected.predict_proba(new_texts), alone.predict_proba(new_texts)
    )
    grid = {"dygencorrector__min_quality": [0.0, 0.7]}
    search = GridSearchCV(corrected, grid, cv=2).fit(TEXTS, NOISY)
    assert search.score(new_texts, new_labels) > plain


def test_parameters_of_the_classifier_that_is_the_default():
    corrector = DyGenCorrector().set_params(classifier__random_state=3, min_quality=0.1)
    assert corrector.classifier.random_state == 3
    assert corrector.min_quality == 0.1
