import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdygen.datasets import make_label_noise

TRUE = np.repeat(["a", "b", "c", "d"], [100, 200, 300, 400])
KINDS = ["symmetric", "asymmetric", "instance"]


def make_features(seed=0):
    own = TRUE[:, None] == list("abcd")
    return 3 * own + np.random.RandomState(seed).randn(1000, 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 1.0])
def test_rate_is_the_share_of_wrong_labels(kind, rate):
    noisy = make_label_noise(TRUE, kind, rate, X=make_features(), random_state=0)
    assert (noisy != TRUE).mean() == pytest.approx(rate, abs=1e-12)
    assert noisy.dtype == TRUE.dtype


def test_symmetric_noise_hits_all_classes_and_goes_to_all_others():
    noisy = make_label_noise(TRUE, "symmetric", 0.4, random_state=0)
    for label in "abcd":
        wrong = noisy[(label == TRUE) & (noisy != TRUE)]
        assert len(wrong) == pytest.approx(0.4 * (label == TRUE).sum(), rel=0.25)
        shares = [(wrong == other).mean() for other in "abcd" if other != label]
        assert np.allclose(shares, 1 / 3, atol=0.15)


def test_asymmetric_noise_goes_to_the_next_class_at_the_same_rate():
    noisy = make_label_noise(TRUE, "asymmetric", 0.3, random_state=0)
    for label, following in zip("abcd", "bcda", strict=True):
        members = label == TRUE
        assert (noisy[members] == following).mean() == pytest.approx(0.3, abs=1e-12)
        assert np.isin(noisy[members], [label, following]).all()


def test_instance_noise_prefers_texts_near_another_class_and_goes_there():
    X = make_features()
    noisy = make_label_noise(TRUE, "instance", 0.2, X=X, random_state=0)
    centroids = np.array([X[label == TRUE].mean(axis=0) for label in "abcd"])
    distances = np.linalg.norm(X[:, None] - centroids, axis=2)
    is_own = TRUE[:, None] == list("abcd")
    others = np.where(is_own, np.inf, distances)
    margin = others.min(axis=1) - distances[is_own]
    wrong, near = noisy != TRUE, margin < np.median(margin)
    assert wrong[near].mean() > 3 * wrong[~near].mean()
    nearest = np.array(list("abcd"))[others.argmin(axis=1)]
    assert_array_equal(noisy[wrong], nearest[wrong])
    positive = np.maximum(X, 0)
    dense = make_label_noise(TRUE, "instance", 0.2, X=positive, random_state=0)
    X = sparse.csr_matrix(positive)
    assert_array_equal(
        make_label_noise(TRUE, "instance", 0.2, X=X, random_state=0), dense
    )


@pytest.mark.parametrize("spread", [0, 1e-9, 1e-4, 1e-2])
def test_instance_noise_of_classes_far_apart(spread):
    own = TRUE[:, None] == list("abcd")
    X = 10 * own + spread * np.random.RandomState(0).randn(1000, 4)
    noisy = make_label_noise(TRUE, "instance", 0.2, X=X, random_state=0)
    for label in "abcd":
        assert 0.1 < (noisy != TRUE)[label == TRUE].mean() < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_random_state(kind):
    X = make_features()
    one, two, other = (
        make_label_noise(TRUE, kind, 0.2, X=X, random_state=seed) for seed in (0, 0, 1)
    )
    assert_array_equal(one, two)
    assert (one != other).any()


@pytest.mark.parametrize("y", [[0, 1, 2] * 10, [True, False] * 10, ["x", "y"] * 10])
def test_types_of_labels(y):
    noisy = make_label_noise(y, "symmetric", 0.5, random_state=0)
    assert set(noisy.tolist()) <= set(y)
    assert sum(a != b for a, b in zip(noisy.tolist(), y, strict=True)) == len(y) / 2


def test_errors():
    with pytest.raises(ValueError, match="needs X"):
        make_label_noise(TRUE, "instance", 0.2)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        make_label_noise(TRUE, "instance", 0.2, X=np.zeros((3, 2)))
