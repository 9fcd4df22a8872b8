"""A small fine-tuning, which most tests of the first stage look at."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skdygen.dynamics import LanguageModelDynamics
from tests.conftest import make_word_texts

TEXTS, LABELS = make_word_texts(75)  # five batches, the last of which is small
LABELS[::7] = LABELS[1]


def make_dynamics(model, **params):
    """Make a stage that is trained in half a second."""
    settings = {
        "n_epochs": 3, "n_recorded_epochs": None, "recording": "evaluation",
        "trainable_layers": 1, "batch_size": 16, "learning_rate": 1e-2,
        "head_learning_rate": 1e-2, "hidden_size": 16, "precision": "fp32",
        "random_state": 0,
    }  # fmt: skip
    return LanguageModelDynamics(model, **(settings | params))


@pytest.fixture(scope="session")
def fitted(tiny_model):
    """Give such a stage, to be copied before it is changed, and what it recorded."""
    dynamics = make_dynamics(tiny_model)
    return dynamics, dynamics.fit_transform(TEXTS, LABELS)


def assert_same(found, expected, atol=0.0):
    """Compare trajectories; to the bit, or at the scale of the embeddings."""
    atol *= float(np.abs(expected.embeddings).max())
    for moment in ("embeddings", "probabilities", "initial", "lexical"):
        one, other = (
            getattr(t, moment, t.views.get(moment)).astype(float)
            for t in (found, expected)
        )
        assert_allclose(one, other, rtol=0, atol=atol, err_msg=moment)


def before_steps(patch, action):
    """Have something happen before steps of the optimiser, given their number from 1.

    Returns the list of these numbers.
    """
    numbers, step = [], torch.optim.AdamW.step

    def counted(*args, **kwargs):
        numbers.append(len(numbers) + 1)
        action(numbers[-1])
        return step(*args, **kwargs)

    patch.setattr(torch.optim.AdamW, "step", counted)
    return numbers
