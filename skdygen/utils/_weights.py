"""Weights of samples: what counts, how much, and who can use it."""

import numpy as np
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _check_sample_weight, has_fit_parameter


def weigh(sample_weight, codes):
    """Turn sample weights into what stages compute with.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
        Weights, not negative; None: all alike.
    codes : ndarray of shape (n_samples,)
        Given classes; -1 where there is none.

    Returns
    -------
    codes : ndarray of shape (n_samples,)
        The same, -1 also where the weight is 0.
    weights : ndarray of shape (n_samples,)
        The same; 1 if all are alike, 0 where there is no label.

    Raises
    ------
    ValueError
        If there is not one weight for each sample, a weight is negative or not finite,
        or labels of fewer than two classes have a positive weight.
    """
    if sample_weight is None:
        return codes, (codes >= 0).astype(np.float64)
    weights = _check_sample_weight(
        sample_weight, codes, dtype=np.float64, ensure_non_negative=True
    )
    counts = (codes >= 0) & (weights > 0)
    n_classes = len(np.unique(codes[counts]))
    if n_classes < 2:
        raise ValueError(
            f"sample_weight is positive for labels of {n_classes} class(es) only; a "
            f"classifier needs at least two classes."
        )
    return np.where(counts, codes, -1), np.where(counts, weights, 0.0)


def fit_weighted(estimator, X, y, weights):
    """Fit an estimator, with weights if it takes any.

    Parameters
    ----------
    estimator : estimator
        Fitted in place; of a pipeline, every step that takes `sample_weight` gets it,
        unless metadata routing is enabled: then what has been requested decides.
    X, y
        Arguments of its `fit`.
    weights : ndarray of shape (n_samples,) or None
        None: all alike.

    Returns
    -------
    estimator : object
        The same.
    """
    params = {}
    if weights is not None and get_config()["enable_metadata_routing"]:
        if get_routing_for_object(estimator).consumes("fit", ["sample_weight"]):
            params["sample_weight"] = weights
    elif weights is not None:
        params = dict.fromkeys(_weight_parameters(estimator), weights)
    return estimator.fit(X, y, **params)


def _weight_parameters(estimator, prefix=""):
    """Names under which `fit` takes weights."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            yield from _weight_parameters(step, f"{prefix}{name}__")
    elif has_fit_parameter(estimator, "sample_weight"):
        yield f"{prefix}sample_weight"


def lowest(scores, weights, share):
    """Find the samples with the lowest scores that make up a share of the weight.

    Parameters
    ----------
    scores, weights : ndarray of shape (n_samples,)
        What to sort by, and what adds up.
    share : float
        Between 0 and 1.

    Returns
    -------
    positions : ndarray of shape (n_found,)
        At least one; lowest first.
    """
    order = np.argsort(scores, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    return order[: max(1, int((middle < share * weights.sum()).sum()))]
