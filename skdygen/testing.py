"""Checks of what stages promise, for those of this package and of others.

They stand beside scikit-learn's, whose checks give an estimator matrices of numbers:
these give it what it reads, texts or trajectories.
"""

import gc
import inspect
import os
import pickle
import tempfile
from unittest.mock import patch

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from . import _storage
from ._trajectories import Trajectories
from .base import BaseDenoiser, BasePrior
from .datasets import make_texts
from .dynamics import IncrementalDynamics
from .priors import ClassifierPrior

__all__ = ["check_estimator", "parametrize_with_checks"]

_MOMENTS = ("embeddings", "probabilities", "prior", "opinions")
_LEARNT = ("label_distributions_", "marginal_distributions_")
_SUMS_OF_ONE = (
    "probabilities",
    "prior",
    "opinions",
    "predict_proba",
    "corrected",
    *_LEARNT,
)
_NAMES = np.array(["billing", "delivery", "returns"])
_ERRORS = (TypeError, ValueError)
_ODD_TEXTS = ["", " \t\n", "🙂🙃", "שלום عالم", "a\0b", "word " * 3000, "same", "same"]


def check_parameters(estimator):
    """`__init__` keeps what it is given, and `set_params` reaches every parameter."""
    parameters = inspect.signature(type(estimator)).parameters.values()
    if all(p.default is not p.empty for p in parameters):
        made = type(estimator)()
        for p in parameters:
            assert getattr(made, p.name) is p.default, f"__init__ changes {p.name}"
    copy = _seeded(estimator)
    params = copy.get_params()
    for name, value in params.items():
        copy.set_params(**{name: value})
        assert copy.get_params()[name] is value, f"set_params changes {name}"
    params = copy.get_params()  # set_params makes new lists of a pipeline's steps
    _fit(copy, *_data(copy), keep=True)
    for name, value in copy.get_params().items():
        assert value is params[name], f"fit changes {name}"


def check_output(estimator):
    """Output is finite, has a row for each text, and columns in `classes_` order."""
    X, y = _data(estimator)
    fitted, found = _fit(estimator, X, y)
    np.testing.assert_array_equal(fitted.classes_, np.unique(y))
    _assert_valid(fitted, found, len(y))
    if hasattr(fitted, "predict") and "predict_proba" in found:
        likely = found["predict_proba"].argmax(axis=1)
        np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[likely])
    for name in _MOMENTS:
        both = [found.get(f"{how} {name}") for how in ("recorded", "replayed")]
        assert np.shape(both[0]) == np.shape(both[1]), name


def check_a_refit_forgets(estimator):
    """A second fit is what a first one would be, also on other classes."""
    refitted, _ = _fit(estimator, *_data(estimator))
    X, y = _data(estimator, classes=2)
    refitted, found = _fit(refitted, X, y, keep=True)
    fresh, expected = _fit(estimator, X, y)
    assert set(vars(refitted)) == set(vars(fresh))
    _assert_equal(found, expected)


def check_equal_seeds(estimator):
    """Equal seeds give equal results; the global random state is left alone."""
    X, y = _data(estimator)
    before = pickle.dumps(np.random.get_state())
    (_, found), (_, expected) = [_fit(estimator, X, y) for _ in range(2)]
    assert pickle.dumps(np.random.get_state()) == before
    _assert_equal(found, expected)


def check_order_of_rows(estimator):
    """What is said of a text does not depend on its place, nor on its neighbours."""
    X, y = _data(estimator)
    fitted, _ = _fit(estimator, X, y)
    order = np.random.RandomState(0).permutation(len(y))[: len(y) // 2]
    expected = {name: found[order] for name, found in _answers(fitted, X).items()}
    _assert_equal(_answers(fitted, X[order]), expected, rtol=1e-2)


def check_label_types(estimator):
    """Labels of any type give the same result, and come back as they were."""
    X, y = _data(estimator, classes=2)
    classes, codes = np.unique(y, return_inverse=True)
    _, expected = _fit(estimator, X, y)
    kinds = {
        "objects": y.astype(object), "list": y.tolist(), "integers": codes,
        "Series": pd.Series(y, index=np.arange(len(y))[::-1]),
        "categories": pd.Series(pd.Categorical(y, [*classes, "not used"])),
        "negative integers": codes - 7, "booleans": codes.astype(bool),
        "nullable": pd.Series(codes, dtype="Int64"), "floats": codes.astype(float),
    }  # fmt: skip
    for name, labels in kinds.items():
        given, _ = _data(estimator, classes=2, labels=labels)
        fitted, found = _fit(estimator, given, labels)
        assert fitted.classes_.tolist() == np.unique(np.asarray(labels)).tolist(), name
        _assert_equal(found, expected, name)


def check_labels_that_are_missing(estimator):
    """Texts without a label have a result, and so have those of weight 0."""
    _, y = _data(estimator)
    partly = np.where(np.arange(len(y)) % 5 == 0, "none", y)
    X, _ = _data(estimator, labels=partly, missing_label="none")
    fitted, found = _fit(estimator, X, partly, missing_label="none")
    np.testing.assert_array_equal(fitted.classes_, np.unique(y))
    _assert_valid(fitted, found, len(y))
    weights = (partly != "none").astype(float)
    _assert_equal(_fit(estimator, X, y, sample_weight=weights)[1], found)


def check_a_class_without_labels(estimator):
    """Of a fold without a class, what is left is learnt; columns stay in order."""
    X, y = _data(estimator)
    rows = np.flatnonzero(y != _NAMES[1])
    fitted, found = _fit(estimator, X[rows], y[rows])
    known = y if _reads_trajectories(estimator) else y[rows]  # trajectories know it
    np.testing.assert_array_equal(fitted.classes_, np.unique(known))
    _assert_valid(fitted, found, len(rows))
    _assert_valid(fitted, _answers(fitted, X), len(y))


def check_few_texts_of_a_class(estimator):
    """One text of a class is enough, and so are four texts in all."""
    X, y = _data(estimator)
    rows = np.r_[np.flatnonzero(y != _NAMES[0]), np.flatnonzero(y == _NAMES[0])[:1]]
    for chosen in (rows, np.r_[rows[:3], rows[-1:]]):
        _assert_valid(*_fit(estimator, X[chosen], y[chosen]), len(chosen))


def check_inputs_are_left_alone(estimator):
    """What is passed is not changed, and may be read-only."""
    X, y = _data(estimator)
    arrays = _arrays(X) if _reads_trajectories(estimator) else {"texts": X}
    arrays |= {"labels": y, "weights": np.ones(len(y))}
    before = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    _fit(estimator, X, y, sample_weight=arrays["weights"])
    _assert_equal(arrays, before)


def check_errors(estimator):
    """Bad input is one error that names the argument; what was fitted stays."""
    X, y = _data(estimator)
    fitted, _ = _fit(estimator, X, y)
    expected = _answers(fitted, X)
    trials = {
        "y of another length": (X, y[:-1], "y"),
        "one class": (X, np.full(len(y), y[0]), "y"),
        "a missing label": (X, np.where(np.arange(len(y)) == 3, None, y), "row 3"),
        "numbers that are no classes": (X, np.linspace(0, 1, len(y)), "y"),
        "no labels": (X, None, "y"),
    }
    if _reads_trajectories(estimator):
        trials["no trajectories"] = (np.asarray(X), y, "X")
    else:
        trials |= {
            "one string": ("a text", y, "X"),
            "a row that is no text": ([*X[:5], None, *X[6:]], y, "row 5"),
            "a generator": ((text for text in X), y, "X"),
            "several columns": (np.array([X, X]).T, y, "X"),
        }
    for name, (bad_X, bad_y, word) in trials.items():
        with np.testing.assert_raises_regex(_ERRORS, rf"\b{word}\b", msg=name):
            fitted.fit(bad_X, bad_y)
    _assert_equal(_answers(fitted, X), expected)


def check_not_fitted(estimator):
    """Before a fit there is no answer, but an error that says so."""
    X, _ = _data(estimator)
    for method in ("predict", "predict_proba", "transform"):
        if hasattr(estimator, method):
            with np.testing.assert_raises(NotFittedError, msg=method):
                getattr(clone(estimator), method)(X)


def check_storage(estimator):
    """Pickle, and `save` and `load`, give back an estimator that answers the same."""
    X, y = _data(estimator)
    fitted, _ = _fit(estimator, X, y)
    expected = _answers(fitted, X)
    _assert_equal(_answers(pickle.loads(pickle.dumps(fitted)), X), expected)
    parts = [type(part) for part in (fitted, *fitted.get_params().values())]
    trusted = [f"{part.__module__}.{part.__qualname__}" for part in parts]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.skops")
        fitted.save(path)
        loaded = _storage.load(path, trusted=trusted)
    _assert_equal(_answers(loaded, X), expected)


def check_files(estimator):
    """No file is left behind, neither in the working directory nor elsewhere."""
    X, y = _data(estimator)
    here = sorted(os.listdir())
    with tempfile.TemporaryDirectory() as folder, patch("tempfile.tempdir", folder):
        _fit(estimator, X, y)
        gc.collect()
        assert os.listdir(folder) == []
    assert sorted(os.listdir()) == here


def check_threads(estimator):
    """The number of threads changes nothing but the order of sums."""
    X, y = _data(estimator)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(_answers(_fit(estimator, X, y)[0], X))
    _assert_equal(found[1], found[0], rtol=5e-2)


def check_containers(estimator):
    """Texts come in whatever holds them in order."""
    X, y = _data(estimator)
    _, expected = _fit(estimator, X, y)
    containers = {
        "list": X.tolist(), "tuple": tuple(X), "array of strings": X.astype(str),
        "Series": pd.Series(X, index=np.arange(len(X))[::-1]),
        "frame": pd.DataFrame({"text": X}), "column": X[:, None],
    }  # fmt: skip
    for name, texts in containers.items():
        _assert_equal(_fit(estimator, texts, y)[1], expected, name)


def check_odd_texts(estimator):
    """Empty, long, foreign and repeated texts are texts."""
    texts = [*_ODD_TEXTS, "some", "words", "more"] * 2
    fitted, found = _fit(estimator, texts, np.resize(_NAMES[:2], len(texts)))
    _assert_valid(fitted, found, len(texts))
    for name, values in _answers(fitted, ["same", "", "same"]).items():
        np.testing.assert_allclose(values[0], values[2], atol=1e-6, err_msg=name)


_CHECKS = [
    check_parameters, check_output, check_a_refit_forgets, check_equal_seeds,
    check_order_of_rows, check_label_types, check_labels_that_are_missing,
    check_a_class_without_labels, check_few_texts_of_a_class,
    check_inputs_are_left_alone, check_errors, check_not_fitted, check_storage,
    check_files, check_threads,
]  # fmt: skip
_TEXT_CHECKS = [check_containers, check_odd_texts]


def check_estimator(estimator):
    """Check a stage, or a classifier made of stages.

    Parameters
    ----------
    estimator : BaseDynamics, BasePrior, BaseDenoiser or DyGenClassifier
        Not fitted; it is cloned. Where a `random_state` is None, it is set to 0.

    Raises
    ------
    AssertionError
        If it does not keep a promise; the traceback says which.

    Examples
    --------
    >>> from skdygen.priors import UniformPrior
    >>> from skdygen.testing import check_estimator
    >>> check_estimator(UniformPrior())
    """
    for check in _checks_of(estimator):
        check(estimator)


def parametrize_with_checks(estimators):
    """Make a test of pytest run every check on every estimator.

    Parameters
    ----------
    estimators : list of estimators
        As for `check_estimator`.

    Returns
    -------
    decorator : pytest.MarkDecorator
        For a test with the arguments `estimator` and `check`.

    Examples
    --------
    >>> from skdygen.priors import UniformPrior
    >>> from skdygen.testing import parametrize_with_checks
    >>> @parametrize_with_checks([UniformPrior()])
    ... def test_my_stages(estimator, check):
    ...     check(estimator)
    """
    import pytest  # a dependency of tests only

    trials = [
        pytest.param(estimator, check, id=f"{estimator}-{check.__name__}")
        for estimator in estimators
        for check in _checks_of(estimator)
    ]
    return pytest.mark.parametrize(("estimator", "check"), trials)


def _checks_of(estimator):
    """List the checks of an estimator, functions of it."""
    return _CHECKS + ([] if _reads_trajectories(estimator) else _TEXT_CHECKS)


def _reads_trajectories(estimator):
    """Tell whether `X` is `Trajectories` and not texts."""
    return isinstance(estimator, (BasePrior, BaseDenoiser))


def _data(estimator, *, classes=3, labels=None, missing_label=None):
    """Give what an estimator reads, by rows, and labels of which some are wrong."""
    texts, y = make_texts(180, random_state=0)
    rows = np.flatnonzero(np.isin(y, _NAMES[:classes]))[:24]
    texts, y = np.array(texts, dtype=object)[rows], y[rows]
    y[::6] = y[1]
    if not _reads_trajectories(estimator):
        return texts, y
    stages = [IncrementalDynamics(missing_label=missing_label, random_state=0)]
    if isinstance(estimator, BaseDenoiser):
        stages.append(ClassifierPrior(missing_label=missing_label))
    read = make_pipeline(*stages).fit_transform(texts, y if labels is None else labels)
    return read, y


def _seeded(estimator):
    """Clone an estimator, with a seed wherever it takes one."""
    params = estimator.get_params()
    seeds = [n for n in params if n.endswith("random_state") and params[n] is None]
    return clone(estimator).set_params(**dict.fromkeys(seeds, 0))


def _fit(estimator, X, y, *, keep=False, sample_weight=None, **params):
    """Fit a clone with a seed; give it and what it has come to, arrays by name."""
    if not keep:
        estimator = _seeded(estimator).set_params(**params)
    if hasattr(estimator, "fit_transform"):
        found = _arrays(estimator.fit_transform(X, y, sample_weight), "recorded ")
    else:
        learnt = vars(estimator.fit(X, y, sample_weight))
        found = {name: learnt[name] for name in _LEARNT if name in learnt}
        if "transduction_" in learnt:  # (n_samples, n_classes), whatever the labels
            found["corrected"] = learnt["transduction_"][:, None] == estimator.classes_
    return estimator, found | _answers(estimator, X)


def _answers(fitted, X):
    """What is said of texts that may be new, arrays by name."""
    found = {}
    if hasattr(fitted, "transform"):
        found = _arrays(fitted.transform(X), "replayed ")
    if hasattr(fitted, "predict_proba"):
        found["predict_proba"] = fitted.predict_proba(X)
    return found


def _arrays(trajectories, how=""):
    """Arrays of trajectories by name, without those that they lack."""
    assert isinstance(trajectories, Trajectories)
    return {how + name: array for name, array in trajectories._arrays().items()}


def _assert_valid(fitted, found, n_samples):
    """Check lengths, widths and that numbers are finite and probabilities sum to 1."""
    for name, values in found.items():
        assert len(values) == n_samples, name
        if values.dtype.kind == "f":
            assert np.isfinite(values).all(), name
        if name.split()[-1] in _SUMS_OF_ONE:
            assert values.shape[-1] == len(fitted.classes_), name
            np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-3, err_msg=name)
            assert (values >= 0).all(), name


def _assert_equal(found, expected, what="", rtol=None):
    """Compare arrays by name, to the bit or within a share of the largest or of 1."""
    assert found.keys() == expected.keys(), what
    for name, values in expected.items():
        if rtol is None:
            np.testing.assert_array_equal(found[name], values, f"{what} {name}")
        else:
            atol = rtol * max(1.0, np.abs(values).max())
            np.testing.assert_allclose(found[name], values, 0, atol, err_msg=name)
