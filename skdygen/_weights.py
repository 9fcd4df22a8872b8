"""Weights, for whoever takes them."""

import numpy as np
import pandas as pd
from sklearn import config_context, get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from ._encoding import shown, unmask
from ._sklearn_compat import check_sample_weight

LARGEST = 1e6


def read_weights(sample_weight, n_samples):
    """Check weights, one for each sample; give them as floats, (n_samples,).

    A ValueError names the first row that has none, or one that is negative or larger
    than texts can be many.
    """
    given = unmask(np.asanyarray(sample_weight))
    if given.ndim == 1:
        weights = pd.to_numeric(pd.Series(given, dtype=object), errors="coerce")
        weights = weights.to_numpy(dtype=np.float64)
        wrong = ~((weights >= 0) & (weights <= LARGEST))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"sample_weight has {shown(given, row)} in row {row}, but numbers from "
                f"0 to {LARGEST:,.0f} are needed, where 0 is as if the label were "
                f"missing; divide large ones by their mean."
            )
        sample_weight = weights
    return check_sample_weight(
        sample_weight, np.empty(n_samples), dtype=np.float64, ensure_non_negative=True
    )


def fit_weighted(estimator, X, y, weights, *, method="fit", on_request=False):
    """Call a method that fits, with weights (None: all alike) if it takes any."""
    fit = getattr(estimator, method)
    if weights is None:
        return fit(X, y)
    # Where metadata routing is enabled, what users have requested decides instead.
    if on_request and get_config()["enable_metadata_routing"]:
        asks = get_routing_for_object(estimator).consumes("fit", ["sample_weight"])
        return fit(X, y, **dict.fromkeys(asks, weights))
    with config_context(enable_metadata_routing=False):
        params = dict.fromkeys(_weight_parameters(estimator), weights)
        return fit(X, y, **params)


def takes_weights(estimator):
    """Tell whether `fit` takes weights, that of a step if it is a pipeline."""
    return next(_weight_parameters(estimator), None) is not None


def _weight_parameters(estimator, prefix=""):
    """Names under which `fit` takes weights; of a pipeline, those of its steps."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            yield from _weight_parameters(step, f"{prefix}{name}__")
    elif has_fit_parameter(estimator, "sample_weight"):
        yield f"{prefix}sample_weight"
