"""What scikit-learn keeps private and is used here, all of it in one place.

pyproject.toml allows the versions of scikit-learn that the tests pass with, so that a
newer one which renames something here is not installed by surprise.
"""

from typing import TYPE_CHECKING, Any

from sklearn.utils import _metadata_requests
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
)
from sklearn.utils._set_output import _get_output_config as get_output_config
from sklearn.utils.metaestimators import _BaseComposition as BaseComposition
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import _num_samples as num_samples

METADATA_REQUESTS = (
    _metadata_requests.MetadataRequest,
    _metadata_requests.MethodMetadataRequest,
)

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Gives estimators no method `set_callbacks`."""


class ShowsSizesMixin:
    """Shows attributes that are lists of bytes, such as weights, by their sizes.

    scikit-learn >= 1.9 would write all bytes, in HTML, and keep a few of these letters.
    """

    def _get_fitted_attr_html(self, doc_link=""):
        attributes = super()._get_fitted_attr_html(doc_link)
        for shown in attributes.values():
            value = shown["value"]
            if isinstance(value, list) and value and isinstance(value[0], bytes):
                shown["value"] = [f"{len(part) / 1e6:.1f} MB" for part in value]
        return attributes


if TYPE_CHECKING:  # theirs hide the types of what they decorate
    from collections.abc import Callable
    from typing import TypeVar

    Function = TypeVar("Function", bound=Callable[..., Any])

    def fit_context(
        *, prefer_skip_nested_validation: bool
    ) -> Callable[[Function], Function]: ...
    def validate_params(
        constraints: dict[str, Any], *, prefer_skip_nested_validation: bool
    ) -> Callable[[Function], Function]: ...
else:
    from sklearn.base import _fit_context as fit_context
    from sklearn.utils._param_validation import validate_params

__all__ = [
    "BaseComposition",
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "ShowsSizesMixin",
    "StrOptions",
    "check_sample_weight",
    "fit_context",
    "get_output_config",
    "num_samples",
    "safe_indexing",
    "validate_params",
]
