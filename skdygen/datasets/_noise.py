"""Wrong labels made on purpose."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_array, check_consistent_length, check_random_state

from .._encoding import encode_labels
from .._sklearn_compat import Interval, StrOptions, validate_params

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@validate_params(
    {
        "y": ["array-like"],
        "kind": [StrOptions({"symmetric", "asymmetric", "instance"})],
        "rate": [Interval(Real, 0, 1, closed="both")],
        "X": ["array-like", "sparse matrix", None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_label_noise(
    y: ArrayLike,
    kind: Literal["symmetric", "asymmetric", "instance"] = "symmetric",
    rate: float = 0.2,
    X: Any = None,
    random_state: int | np.random.RandomState | None = None,
) -> np.ndarray:
    """Make a given share of labels wrong.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Right labels.
    kind : {"symmetric", "asymmetric", "instance"}, default="symmetric"
        Which labels turn wrong, and into what:

        - "symmetric": any label, into any other class with equal chance;
        - "asymmetric": the same share of each class, into the next class in sorted
          order (the last into the first);
        - "instance": rather those of samples near another class, into the nearest
          other class, by the distances to class means in `X`.
    rate : float in [0, 1], default=0.2
        Share of labels that are wrong in the end, rounded to whole labels; for
        "asymmetric", within each class.
    X : array-like of shape (n_samples, n_features), default=None
        Features such as sentence embeddings; needed for "instance".
    random_state : int, RandomState instance or None, default=None
        Determines which labels change.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,)
        Labels of the same type as `y`.

    Raises
    ------
    ValueError
        If `kind` is "instance" and `X` is missing or has another length.

    Examples
    --------
    >>> import numpy as np
    >>> from skdygen.datasets import make_label_noise
    >>> y = np.array(["cat", "dog"] * 50)
    >>> noisy = make_label_noise(y, kind="symmetric", rate=0.2, random_state=0)
    >>> int((noisy != y).sum())
    20
    """
    classes, codes = encode_labels(y)
    rng = check_random_state(random_state)
    noisy = codes.copy()
    if kind == "symmetric":
        flipped = _draw(rng, np.zeros(len(codes)), rate)
        steps = rng.randint(1, len(classes), size=len(flipped))
        noisy[flipped] = (codes[flipped] + steps) % len(classes)
    elif kind == "asymmetric":
        for code in range(len(classes)):
            members = np.flatnonzero(codes == code)
            flipped = members[_draw(rng, np.zeros(len(members)), rate)]
            noisy[flipped] = (code + 1) % len(classes)
    else:
        if X is None:
            raise ValueError("kind='instance' needs X: one row of features per label.")
        X = check_array(X, accept_sparse="csr")
        check_consistent_length(X, codes)
        log_weights, nearest = _doubt(X, codes, len(classes))
        flipped = _draw(rng, log_weights, rate)
        noisy[flipped] = nearest[flipped]
    return classes[noisy]


def _draw(rng, log_weights, rate):
    """Draw a share of positions without replacement, with chances as the weights."""
    n_drawn = round(rate * len(log_weights))
    # The largest of log-weights with Gumbel noise (Efraimidis and Spirakis, 2006).
    keys = log_weights + rng.gumbel(size=len(log_weights))
    return np.argsort(-keys, kind="stable")[:n_drawn]


def _doubt(X, codes, n_classes):
    """Log-weight of the chance to be mislabelled, and the nearest other class."""
    centroids = np.vstack(
        [np.asarray(X[codes == code].mean(axis=0)) for code in range(n_classes)]
    )
    distances = euclidean_distances(X, centroids)
    rows = np.arange(len(codes))
    own = distances[rows, codes]
    distances[rows, codes] = np.inf
    margin = distances.min(axis=1) - own
    spread = margin.std()
    # One standard deviation nearer to another class: e**2 times the chance. Where
    # classes are points, margins differ by how they are rounded only.
    is_spread = spread > 1e-6 * np.abs(margin).max()
    log_weights = -2 * margin / spread if is_spread else np.zeros(len(codes))
    return log_weights, distances.argmin(axis=1)
