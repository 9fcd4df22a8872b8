import numpy as np
from numpy.testing import assert_allclose

from skdygen import Trajectories
from skdygen.denoisers import TransitionMatrixDenoiser
from skdygen.denoisers._transition import confident_joint

MATRIX = np.array([[0.8, 0.2, 0.0], [0.0, 0.7, 0.3], [0.1, 0.0, 0.9]])


def make(n_samples=3000, seed=0):
    """Make texts whose noisy posterior a model knows, up to a little doubt."""
    rng = np.random.RandomState(seed)
    true = rng.choice(3, p=[0.5, 0.3, 0.2], size=n_samples)
    given = np.array([rng.choice(3, p=MATRIX[k]) for k in true])
    clean = 0.98 * np.eye(3)[true] + 0.02 / 3
    p = (clean @ MATRIX)[:, None, None]
    return Trajectories(np.zeros((n_samples, 1, 1, 1)), p), true, given


def test_matrix_is_recovered_and_labels_are_corrected():
    trajectories, true, given = make()
    partly = np.where(np.arange(len(given)) < 300, -1, given)
    denoiser = TransitionMatrixDenoiser(missing_label=-1).fit(trajectories, partly)
    assert_allclose(denoiser.transition_matrix_, MATRIX, atol=0.05)
    share = np.bincount(true) / len(true)
    assert_allclose(denoiser.class_prior_, share, atol=0.05)
    is_right = denoiser.label_distributions_.argmax(axis=1) == true
    assert is_right.mean() > (given == true).mean() + 0.05
    assert is_right[:300].mean() > 0.95
    assert denoiser.score(trajectories, true) > 0.95


def test_confident_joint_against_loops():
    rng = np.random.RandomState(0)
    p = rng.dirichlet(np.ones(3), size=40)
    given, weights = rng.randint(3, size=40), rng.rand(40)
    thresholds = []
    for k in range(3):
        of_class = [weights[i] * p[i, k] for i in range(40) if given[i] == k]
        thresholds.append(sum(of_class) / weights[given == k].sum())
    expected = np.zeros((3, 3))
    for i in range(40):
        above = [k for k in range(3) if p[i, k] >= thresholds[k]]
        if above:
            expected[max(above, key=lambda k: p[i, k]), given[i]] += weights[i]
    assert_allclose(confident_joint(p, given, weights, 3), expected)
