"""Parameters that no other test fits with: each does what its name says."""

import numpy as np
import pytest
from sklearn.base import clone

from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import ClassifierPrior, ConsensusPrior


@pytest.fixture(scope="module")
def trajectories(word_texts):
    texts, _, noisy = word_texts
    return IncrementalDynamics(random_state=0).fit_transform(texts, noisy)


@pytest.mark.parametrize(
    "params",
    [
        {"coregularization": 0.0}, {"warmup_ratio": 0.6}, {"max_length": 4},
        {"max_tokens": 32},
    ],
)  # fmt: skip
def test_what_changes_the_training_of_a_language_model(tiny_model, word_texts, params):
    texts, _, noisy = word_texts
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=3, precision="fp32", trainable_layers=1, random_state=0
    )
    plain = clone(dynamics).fit_transform(texts, noisy)
    changed = dynamics.set_params(**params).fit_transform(texts, noisy)
    assert not np.array_equal(changed.embeddings, plain.embeddings)


def test_a_device_by_name(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=1, precision="fp32", device="cpu", random_state=0
    )
    found = dynamics.fit_transform(texts, noisy)
    expected = dynamics.set_params(device="auto").fit_transform(texts, noisy)
    assert found.embeddings.shape == expected.embeddings.shape


@pytest.mark.parametrize(
    "params", [{"batch_size": 16}, {"coregularization": 0.0}, {"warmup_ratio": 0.6}]
)
def test_what_changes_the_training_of_the_denoiser(trajectories, word_texts, params):
    _, _, noisy = word_texts
    read = ClassifierPrior().fit_transform(trajectories, noisy)
    denoiser = DirichletVAE(n_epochs=5, random_state=0)
    plain = clone(denoiser).fit(read, noisy).label_distributions_
    changed = denoiser.set_params(**params).fit(read, noisy).label_distributions_
    assert not np.array_equal(changed, plain)


def test_how_many_clean_texts_a_prior_learns_from(trajectories, word_texts):
    _, _, noisy = word_texts
    prior = ClassifierPrior(max_samples=20).fit(trajectories, noisy)
    assert len(prior.clean_indices_) <= 20
    few = ConsensusPrior(max_samples=20).fit_transform(trajectories, noisy).prior
    many = ConsensusPrior().fit_transform(trajectories, noisy).prior
    assert not np.array_equal(few, many)


def test_labels_that_are_missing_from_a_prior(word_texts):
    texts, _, noisy = word_texts
    partly = np.where(np.arange(len(texts)) % 4 == 0, "none", noisy)
    dynamics = IncrementalDynamics(missing_label="none", random_state=0)
    prior = ClassifierPrior(missing_label="none")
    prior.fit(dynamics.fit_transform(texts, partly), partly)
    assert (partly[prior.clean_indices_] != "none").all()


def test_the_folder_of_mapped_files(word_texts, tmp_path):
    texts, _, noisy = word_texts
    dynamics = IncrementalDynamics(
        max_nbytes=0, temp_folder=str(tmp_path), random_state=0
    )
    found = dynamics.fit_transform(texts, noisy)
    assert len(list(tmp_path.iterdir())) == 2  # embeddings and probabilities
    del found
