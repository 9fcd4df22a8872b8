"""Weights of samples: what counts, how much, and who can use it."""

from numbers import Real

import numpy as np
from sklearn import config_context, get_config
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


def weigh_classes(class_weight, classes):
    """Turn a `class_weight` into one weight for each class.

    Parameters
    ----------
    class_weight : dict of label to float, "balanced" or None
        Classes that a dict leaves out have a weight of 1. "balanced" depends on what
        is yet to be estimated.
    classes : ndarray of shape (n_classes,)
        The classes.

    Returns
    -------
    weights : ndarray of shape (n_classes,)
        All 1 for None and "balanced".

    Raises
    ------
    ValueError
        If a weight is not a positive number, or is for a label that there is not.
    """
    weights = np.ones(len(classes))
    if not isinstance(class_weight, dict):
        return weights
    known = classes.tolist()
    for label, weight in class_weight.items():
        if label not in known:
            raise ValueError(
                f"class_weight has the label {label!r}, which is not among the classes "
                f"{known}."
            )
        if not (isinstance(weight, Real) and 0 < weight < np.inf):
            raise ValueError(
                f"class_weight has {weight!r} for the class {label!r}; a positive "
                f"number is needed."
            )
        weights[known.index(label)] = weight
    return weights


def fit_weighted(estimator, X, y, weights, *, on_request=False):
    """Fit an estimator, with weights if it takes any.

    Parameters
    ----------
    estimator : estimator
        Fitted in place; of a pipeline, every step that takes `sample_weight` gets it.
    X, y
        Arguments of its `fit`.
    weights : ndarray of shape (n_samples,) or None
        None: all alike.
    on_request : bool, default=False
        Whether, where metadata routing is enabled, what has been requested decides
        instead.

    Returns
    -------
    estimator : object
        The same.
    """
    if weights is None:
        return estimator.fit(X, y)
    if on_request and get_config()["enable_metadata_routing"]:
        asks = get_routing_for_object(estimator).consumes("fit", ["sample_weight"])
        return estimator.fit(X, y, **dict.fromkeys(asks, weights))
    with config_context(enable_metadata_routing=False):
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
