"""Parameters that no other test fits with: each does what its name says."""

import numpy as np
import pytest
from sklearn.base import clone

from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import ClassifierPrior
from tests.test_classifier import NOISY, TEXTS


@pytest.fixture(scope="module")
def fine_tuned(tiny_model):
    """Fit once with the defaults of what is changed."""
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=3, precision="fp32", trainable_layers=1, random_state=0
    )
    return dynamics, dynamics.fit_transform(TEXTS, NOISY).embeddings


@pytest.mark.parametrize(
    "params",
    [
        {"coregularization": 0.0}, {"coregularization_warmup": 0.6},
        {"warmup_ratio": 0.6}, {"max_length": 4}, {"max_tokens": 32},
    ],
)  # fmt: skip
def test_what_changes_the_training_of_a_language_model(fine_tuned, params):
    dynamics, plain = fine_tuned
    changed = clone(dynamics).set_params(**params).fit_transform(TEXTS, NOISY)
    assert not np.array_equal(changed.embeddings, plain)


@pytest.mark.parametrize(
    "params",
    [{"batch_size": 16}, {"coregularization": 0.0}, {"coregularization_warmup": 0.6}],
)
def test_what_changes_the_training_of_the_denoiser(params):
    recorded = IncrementalDynamics(random_state=0).fit_transform(TEXTS, NOISY)
    read = ClassifierPrior().fit_transform(recorded, NOISY)
    denoiser = DirichletVAE(n_epochs=5, random_state=0)
    plain = clone(denoiser).fit(read, NOISY).label_distributions_
    changed = denoiser.set_params(**params).fit(read, NOISY).label_distributions_
    assert not np.array_equal(changed, plain)


def test_labels_that_are_missing_from_a_prior():
    partly = np.where(np.arange(len(TEXTS)) % 4 == 0, "none", NOISY)
    dynamics = IncrementalDynamics(missing_label="none", random_state=0)
    prior = ClassifierPrior(missing_label="none")
    prior.fit(dynamics.fit_transform(TEXTS, partly), partly)
    assert (partly[prior.clean_indices_] != "none").all()
