"""A small fine-tuning, which most tests of the first stage look at."""

import pytest

from skdygen.dynamics import LanguageModelDynamics
from tests.conftest import make_word_texts

TEXTS, LABELS = make_word_texts(75)  # the last batch is a small one
LABELS[::7] = LABELS[1]


def make_dynamics(model, **params):
    """Make a stage that is trained in half a second."""
    settings = {
        "n_epochs": 3,
        "n_recorded_epochs": None,
        "recording": "evaluation",
        "trainable_layers": 1,
        "batch_size": 16,
        "learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
        "hidden_size": 16,
        "precision": "fp32",
        "random_state": 0,
    }
    return LanguageModelDynamics(model, **(settings | params))


@pytest.fixture(scope="session")
def fitted(tiny_model):
    """Give such a stage, to be copied before it is changed, and what it recorded."""
    dynamics = make_dynamics(tiny_model)
    return dynamics, dynamics.fit_transform(TEXTS, LABELS)
