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

from skdygen import Trajectories
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import UniformPrior
from tests.test_classifier import NOISY, TEXTS, make_fast


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_trajectories(library):
    module = {"pandas": pd, "polars": pl}[library]
    dynamics = IncrementalDynamics(n_epochs=3, random_state=0)
    expected = np.asarray(dynamics.fit_transform(TEXTS, NOISY))
    stage = clone(dynamics).set_output(transform=library)
    frame = stage.fit_transform(TEXTS, NOISY)
    assert isinstance(frame, module.DataFrame)
    assert frame.columns[2] == "branch0_epoch1_feature0"
    assert list(frame.columns) == stage.get_feature_names_out().tolist()
    assert_array_equal(frame.to_numpy(), expected)
    assert_array_equal(clone(stage).fit(TEXTS, NOISY).transform(TEXTS), expected)
    again = stage.set_output(transform="default").transform(TEXTS)
    assert isinstance(again, Trajectories)


def test_frames_keep_the_index():
    series = pd.Series(TEXTS, index=[f"row {i}" for i in range(len(TEXTS))])
    stage = IncrementalDynamics(random_state=0).set_output(transform="pandas")
    assert stage.fit_transform(series.to_frame(), NOISY).index.equals(series.index)
    if parse_version(sklearn.__version__) >= parse_version("1.8"):
        assert stage.fit_transform(series, NOISY).index.equals(series.index)


def test_names_are_as_many_as_columns(tiny_model):
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=3, n_components=5, random_state=0
    )
    prior = UniformPrior()
    prior.fit(dynamics.fit_transform(TEXTS, NOISY), NOISY)
    for stage in (dynamics, prior):
        names = stage.get_feature_names_out()
        assert len(set(names)) == dynamics.transform(TEXTS[:2]).shape[1] == 2 * 2 * 5


def test_pipelines_of_ones_own():
    steps = [IncrementalDynamics(random_state=0), LogisticRegression()]
    plain = make_pipeline(*steps).fit(TEXTS, NOISY)
    framed = make_pipeline(*map(clone, steps)).set_output(transform="pandas")
    framed.fit(TEXTS, NOISY)
    assert_allclose(framed.predict_proba(TEXTS), plain.predict_proba(TEXTS), rtol=1e-4)
    assert framed[-1].feature_names_in_[0] == "branch0_epoch0_feature0"


def test_the_configuration_does_not_come_between_the_stages():
    clf = make_fast()
    expected = clf.fit(TEXTS, NOISY).predict_proba(TEXTS)
    with config_context(transform_output="pandas"):
        assert_array_equal(clone(clf).fit(TEXTS, NOISY).predict_proba(TEXTS), expected)
        by_hand = make_pipeline(
            IncrementalDynamics(random_state=0), UniformPrior(), DirichletVAE()
        )
        with pytest.raises(TypeError, match="DataFrame; where set_output"):
            by_hand.fit(TEXTS, NOISY)
    clf.set_params(dynamics=IncrementalDynamics().set_output(transform="pandas"))
    assert_array_equal(clf.fit(TEXTS, NOISY).predict_proba(TEXTS), expected)
