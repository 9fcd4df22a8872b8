import numpy as np
import pytest
from scipy.special import softmax

from skdygen import Trajectories
from skdygen.datasets import make_label_noise


@pytest.fixture(scope="session")
def clusters():
    """Trajectories of three clusters, their classes, and labels 30 % of them wrong."""
    rng = np.random.RandomState(0)
    true = np.arange(150) % 3
    steps = np.array([2, 4, 6])[None, None, :, None]
    embeddings = np.eye(3, 6)[true][:, None, None] * steps + rng.randn(150, 2, 3, 6)
    given = make_label_noise(true, "symmetric", 0.3, random_state=0)
    return Trajectories(embeddings, softmax(embeddings[..., :3], axis=-1)), true, given


@pytest.fixture(scope="session")
def memorised():
    """Trajectories of three clusters that training draws to the given labels."""
    rng = np.random.RandomState(0)
    true = np.arange(240) % 3
    given = make_label_noise(true, "symmetric", 0.3, random_state=0)
    initial = 2 * np.eye(3, 6)[true] + rng.randn(240, 6)
    memory = np.array([0.2, 0.6, 1.0])[:, None] * 3 * np.eye(3, 6)[given][:, None, None]
    embeddings = initial[:, None, None] + memory + rng.randn(240, 2, 3, 6)
    probabilities = softmax(embeddings[..., :3], axis=-1)
    views = {"initial": initial}
    return Trajectories(embeddings, probabilities, views=views), true, given
