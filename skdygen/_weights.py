"""Weights, for whoever takes them."""

from sklearn import config_context, get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter


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


def _weight_parameters(estimator, prefix=""):
    """Names under which `fit` takes weights; of a pipeline, those of its steps."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            yield from _weight_parameters(step, f"{prefix}{name}__")
    elif has_fit_parameter(estimator, "sample_weight"):
        yield f"{prefix}sample_weight"
