"""Stages whose output is asked for as a frame."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.fixes import parse_version

from skdygen import DyGenClassifier, Trajectories
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import UniformPrior


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_trajectories(word_texts, library):
    module = {"pandas": pd, "polars": pl}[library]
    texts, _, noisy = word_texts
    dynamics = IncrementalDynamics(n_epochs=3, random_state=0)
    expected = np.asarray(dynamics.fit_transform(texts, noisy))
    stage = clone(dynamics).set_output(transform=library)
    frame = stage.fit_transform(texts, noisy)
    assert isinstance(frame, module.DataFrame)
    assert list(frame.columns[:3]) == [
        "branch0_epoch0_feature0",
        "branch0_epoch0_feature1",
        "branch0_epoch1_feature0",
    ]
    assert list(frame.columns) == stage.get_feature_names_out().tolist()
    assert_array_equal(frame.to_numpy(), expected)
    assert_array_equal(clone(stage).fit(texts, noisy).transform(texts), expected)
    again = stage.set_output(transform="default").transform(texts)
    assert isinstance(again, Trajectories)


def test_frames_keep_the_index(word_texts):
    texts, _, noisy = word_texts
    series = pd.Series(texts, index=[f"row {i}" for i in range(len(texts))])
    stage = IncrementalDynamics(random_state=0).set_output(transform="pandas")
    assert stage.fit_transform(series.to_frame(), noisy).index.equals(series.index)
    if parse_version(sklearn.__version__) >= parse_version("1.8"):
        assert stage.fit_transform(series, noisy).index.equals(series.index)


def test_names_are_as_many_as_columns(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=3, n_components=5, random_state=0
    )
    prior = UniformPrior()
    prior.fit(dynamics.fit_transform(texts, noisy), noisy)
    for stage in (dynamics, prior):
        names = stage.get_feature_names_out()
        assert len(set(names)) == dynamics.transform(texts[:2]).shape[1] == 2 * 2 * 5


def test_pipelines_of_ones_own(word_texts):
    texts, _, noisy = word_texts
    steps = [IncrementalDynamics(random_state=0), LogisticRegression()]
    plain = make_pipeline(*steps).fit(texts, noisy)
    framed = make_pipeline(*map(clone, steps)).set_output(transform="pandas")
    framed.fit(texts, noisy)
    assert_allclose(framed.predict_proba(texts), plain.predict_proba(texts), rtol=1e-4)
    assert framed[-1].feature_names_in_[0] == "branch0_epoch0_feature0"


def test_the_configuration_does_not_come_between_the_stages(word_texts):
    texts, _, noisy = word_texts
    clf = DyGenClassifier(IncrementalDynamics(), random_state=0)
    expected = clf.fit(texts, noisy).predict_proba(texts)
    with config_context(transform_output="pandas"):
        assert_array_equal(clone(clf).fit(texts, noisy).predict_proba(texts), expected)
        by_hand = make_pipeline(
            IncrementalDynamics(random_state=0), UniformPrior(), DirichletVAE()
        )
        with pytest.raises(TypeError, match="DataFrame; where set_output"):
            by_hand.fit(texts, noisy)
    clf.set_params(dynamics=IncrementalDynamics().set_output(transform="pandas"))
    assert_array_equal(clf.fit(texts, noisy).predict_proba(texts), expected)
