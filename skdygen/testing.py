"""Checks of what stages promise, for those of this package and of others.

They stand beside scikit-learn's, whose checks give an estimator matrices of numbers:
these give it what it reads, texts or trajectories.
"""

import gc
import inspect
import os
import pickle
import tempfile
from contextlib import contextmanager

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from ._trajectories import Trajectories
from .base import BaseDenoiser, BasePrior
from .datasets import make_texts
from .dynamics import IncrementalDynamics
from .priors import ClassifierPrior

__all__ = ["check_estimator", "estimator_checks_generator", "parametrize_with_checks"]

_MOMENTS = ("embeddings", "probabilities", "prior", "initial")
_LEARNT = ("label_distributions_", "marginal_distributions_", "transduction_")
_SUMS_OF_ONE = ("probabilities", "prior", "predict_proba", *_LEARNT[:2])
_NAMES = np.array(["billing", "delivery", "returns"])


def check_estimator(estimator):
    """Check a stage, or a classifier made of stages.

    Parameters
    ----------
    estimator : BaseDynamics, BasePrior, BaseDenoiser or DyGenClassifier
        Not fitted; it is cloned. A parameter `random_state` is set to 0 if it is None,
        of nested estimators too.

    Raises
    ------
    AssertionError
        If it does not keep a promise; the traceback says which. Or whatever it raises
        itself where it should not.

    Examples
    --------
    >>> from skdygen.priors import UniformPrior
    >>> from skdygen.testing import check_estimator
    >>> check_estimator(UniformPrior())
    """
    for checked, check in estimator_checks_generator(estimator):
        check(checked)


def estimator_checks_generator(estimator):
    """Give the checks of an estimator one by one.

    Parameters
    ----------
    estimator : BaseDynamics, BasePrior, BaseDenoiser or DyGenClassifier
        As for `check_estimator`.

    Yields
    ------
    estimator : object
        The estimator.
    check : callable
        Takes the estimator, and raises an error if it does not pass.

    Examples
    --------
    >>> from skdygen.priors import UniformPrior
    >>> from skdygen.testing import estimator_checks_generator
    >>> _, check = next(estimator_checks_generator(UniformPrior()))
    >>> check.__name__
    'check_parameters'
    """
    checks = [*_CHECKS, *([] if _reads_trajectories(estimator) else _TEXT_CHECKS)]
    for check in checks:
        yield estimator, check


def parametrize_with_checks(estimators):
    """Make a test of pytest run every check on every estimator.

    Parameters
    ----------
    estimators : list of estimators
        As for `check_estimator`.

    Returns
    -------
    decorator : pytest.MarkDecorator
        For a test with the arguments `estimator` and `check`, which calls
        ``check(estimator)``.

    Examples
    --------
    >>> from skdygen.priors import UniformPrior
    >>> from skdygen.testing import parametrize_with_checks
    >>> @parametrize_with_checks([UniformPrior()])
    ... def test_my_stages(estimator, check):
    ...     check(estimator)
    """
    import pytest

    return pytest.mark.parametrize(
        ("estimator", "check"),
        [
            pytest.param(checked, check, id=f"{estimator}-{check.__name__}")
            for estimator in estimators
            for checked, check in estimator_checks_generator(estimator)
        ],
    )


def check_parameters(estimator):
    """`__init__` keeps what it is given, and `set_params` reaches every parameter."""
    signature = inspect.signature(type(estimator)).parameters
    defaults = {name: parameter.default for name, parameter in signature.items()}
    if inspect.Parameter.empty not in defaults.values():
        for name, default in defaults.items():
            kept = getattr(type(estimator)(), name)
            assert kept is default, f"__init__ changes {name}"
    params = estimator.get_params(deep=False)
    again = type(estimator)(**params)
    for name, value in params.items():
        assert getattr(again, name) is value, f"__init__ changes {name}"
    copy = clone(estimator)
    nested = copy.get_params()
    assert nested.keys() == estimator.get_params().keys()
    for name, value in nested.items():
        copy.set_params(**{name: value})
        assert copy.get_params()[name] is value, f"set_params changes {name}"
    _fit(copy, *_data(copy))
    for name in params:
        assert getattr(copy, name) is nested[name], f"fit changes {name}"


def check_output(estimator):
    """Output is finite, has a row for each text, and columns in `classes_` order."""
    X, y = _data(estimator)
    fitted, recorded = _fit(estimator, X, y)
    assert_array_equal(fitted.classes_, np.unique(y))
    _assert_valid(_learnt(fitted, recorded), fitted, y)
    _assert_valid(_answers(fitted, X), fitted, y)
    if hasattr(fitted, "predict"):
        assert np.isin(fitted.predict(X), fitted.classes_).all()
        likely = fitted.predict_proba(X).argmax(axis=1)
        assert_array_equal(fitted.predict(X), fitted.classes_[likely])
    if recorded is not None:
        replayed = fitted.transform(X)
        assert isinstance(recorded, Trajectories)
        assert isinstance(replayed, Trajectories)
        assert recorded.embeddings.shape == replayed.embeddings.shape
        assert (recorded.prior is None) == (replayed.prior is None)


def check_a_refit_forgets(estimator):
    """A second fit is what a first one would be, also on other classes."""
    first, second = _data(estimator, classes=3), _data(estimator, classes=2)
    refitted, _ = _fit(estimator, *first)
    refitted, recorded = _fit(refitted, *second, keep=True)
    fresh, expected = _fit(estimator, *second)
    assert set(vars(refitted)) == set(vars(fresh))
    _assert_equal(_learnt(refitted, recorded), _learnt(fresh, expected))
    _assert_equal(_answers(refitted, second[0]), _answers(fresh, second[0]))


def check_equal_seeds(estimator):
    """Equal seeds give equal results; the global random state is left alone."""
    X, y = _data(estimator)
    before = np.random.get_state()
    first, recorded = _fit(estimator, X, y)
    second, expected = _fit(estimator, X, y)
    for kept, now in zip(before[1:], np.random.get_state()[1:], strict=True):
        assert_array_equal(kept, now)
    _assert_equal(_learnt(first, recorded), _learnt(second, expected))
    _assert_equal(_answers(first, X), _answers(second, X))


def check_order_of_rows(estimator):
    """What is said of a text does not depend on its place, nor on its neighbours."""
    X, y = _data(estimator)
    fitted, _ = _fit(estimator, X, y)
    order = np.random.RandomState(0).permutation(len(y))[: len(y) // 2]
    expected = {name: found[order] for name, found in _answers(fitted, X).items()}
    _assert_numbers_close(_answers(fitted, _take(X, order)), expected, rtol=1e-2)


def check_label_types(estimator):
    """Labels of any type give the same result, and come back as they were."""
    import pandas as pd

    X, y = _data(estimator, classes=2)
    codes = np.searchsorted(np.unique(y), y)
    fitted, recorded = _fit(estimator, X, y)
    expected = _without_labels(_learnt(fitted, recorded))
    kinds = {
        "objects": y.astype(object),
        "list": y.tolist(),
        "Series": pd.Series(y, index=np.arange(len(y))[::-1]),
        "categories": pd.Series(pd.Categorical(y, [*np.unique(y), "not used"])),
        "integers": codes,
        "negative integers": codes - 7,
        "booleans": codes.astype(bool),
        "nullable": pd.Series(codes, dtype="Int64"),
        "whole floats": codes.astype(float),
    }
    for name, labels in kinds.items():
        given = X
        if _reads_trajectories(estimator):
            given, _ = _data(estimator, classes=2, labels=labels)
        fitted, recorded = _fit(estimator, given, labels)
        kept = np.unique(np.asarray(labels, dtype=None))
        assert fitted.classes_.tolist() == kept.tolist(), name
        _assert_equal(_without_labels(_learnt(fitted, recorded)), expected, name)


def check_labels_that_are_missing(estimator):
    """Texts without a label have a result, and so have those of weight 0."""
    _, y = _data(estimator)
    partly = np.where(np.arange(len(y)) % 5 == 0, "none", y)
    X, _ = _data(estimator, labels=partly, missing_label="none")
    fitted, recorded = _fit(estimator, X, partly, missing_label="none")
    assert_array_equal(fitted.classes_, np.unique(y))
    found = _learnt(fitted, recorded)
    _assert_valid(found, fitted, y)
    weights = (partly != "none").astype(float)
    weighted, recorded = _fit(estimator, X, y, sample_weight=weights)
    _assert_equal(_learnt(weighted, recorded), found)


def check_a_class_without_labels(estimator):
    """Of a fold without a class, what is left is learnt; columns stay in order."""
    X, y = _data(estimator)
    rows = np.flatnonzero(y != _NAMES[1])
    fitted, recorded = _fit(estimator, _take(X, rows), y[rows])
    if _reads_trajectories(estimator):  # they know of the class
        assert_array_equal(fitted.classes_, np.unique(y))
    else:
        assert_array_equal(fitted.classes_, np.unique(y[rows]))
    _assert_valid(_learnt(fitted, recorded), fitted, rows)
    _assert_valid(_answers(fitted, X), fitted, y)


def check_few_texts_of_a_class(estimator):
    """One text of a class is enough, and so are four texts in all."""
    X, y = _data(estimator)
    rows = np.r_[np.flatnonzero(y != _NAMES[0]), np.flatnonzero(y == _NAMES[0])[:1]]
    for chosen in (rows, np.r_[rows[:3], rows[-1:]]):
        fitted, recorded = _fit(estimator, _take(X, chosen), y[chosen])
        _assert_valid(_learnt(fitted, recorded), fitted, chosen)


def check_inputs_are_left_alone(estimator):
    """What is passed is not changed, and may be read-only."""
    X, y = _data(estimator)
    weights = np.ones(len(y))
    arrays = [y, weights]
    if _reads_trajectories(estimator):
        arrays += [getattr(X, m) for m in _MOMENTS if getattr(X, m) is not None]
    for array in arrays:
        array.flags.writeable = False
    before = [array.copy() for array in arrays]
    texts = None if _reads_trajectories(estimator) else list(X)
    fitted, _ = _fit(estimator, X, y, sample_weight=weights)
    _answers(fitted, X)
    for kept, array in zip(before, arrays, strict=True):
        assert_array_equal(array, kept)
    assert texts is None or texts == X


def check_errors(estimator):
    """Bad input is one error that names the argument; what was fitted stays."""
    X, y = _data(estimator)
    fitted, _ = _fit(estimator, X, y)
    expected = _answers(fitted, X)
    missing = y.astype(object)
    missing[3] = None
    trials = {
        "y of another length": (X, y[:-1], "y"),
        "one class": (X, np.full(len(y), y[0]), "y"),
        "a missing label": (X, missing, "row 3"),
        "numbers that are no classes": (X, np.linspace(0, 1, len(y)), "y"),
        "no labels": (X, None, "y"),
    }
    if _reads_trajectories(estimator):
        trials["no trajectories"] = (np.asarray(X), y, "X")
    else:
        trials["one string"] = ("a text", y, "X")
        trials["a row that is no text"] = ([*X[:5], None, *X[6:]], y, "row 5")
        trials["a generator"] = ((text for text in X), y, "X")
        trials["several columns"] = (np.array([X, X]).T, y, "X")
    for name, (bad_X, bad_y, word) in trials.items():
        message = f"{name} is taken"
        try:
            fitted.fit(bad_X, bad_y)
        except (TypeError, ValueError) as error:
            message = str(error)
        assert word in message.replace(f"{name} is taken", ""), message
    _assert_equal(_answers(fitted, X), expected)


def check_not_fitted(estimator):
    """Before a fit there is no answer, but an error that says so."""
    X, _ = _data(estimator)
    for method in ("predict", "predict_proba", "transform"):
        answer = getattr(clone(estimator), method, None)
        if answer is None:
            continue
        try:
            answer(X)
        except NotFittedError:
            continue
        raise AssertionError(f"{method} answers before the fit")


def check_storage(estimator):
    """Pickle, and `save` and `load`, give back an estimator that answers the same."""
    X, y = _data(estimator)
    fitted, _ = _fit(estimator, X, y)
    expected = _answers(fitted, X)
    _assert_equal(_answers(pickle.loads(pickle.dumps(fitted)), X), expected)
    name = f"{type(fitted).__module__}.{type(fitted).__qualname__}"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        fitted.save(path)
        loaded = type(fitted).load(path, trusted=[name])
    _assert_equal(_answers(loaded, X), expected)


def check_files(estimator):
    """No file is left behind, neither in the working directory nor elsewhere."""
    X, y = _data(estimator)
    here = sorted(os.listdir())
    with tempfile.TemporaryDirectory() as folder, _temporary_folder(folder):
        fitted, recorded = _fit(estimator, X, y)
        _answers(fitted, X)
        del fitted, recorded
        gc.collect()
        assert os.listdir(folder) == []
    assert sorted(os.listdir()) == here


def check_threads(estimator):
    """The number of threads changes nothing but the order of sums."""
    X, y = _data(estimator)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            fitted, _ = _fit(estimator, X, y)
            found.append(_answers(fitted, X))
    _assert_numbers_close(found[1], found[0], rtol=5e-2)


def check_containers(estimator):
    """Texts come in whatever holds them in order."""
    import pandas as pd

    X, y = _data(estimator)
    fitted, recorded = _fit(estimator, X, y)
    learnt, answers = _learnt(fitted, recorded), _answers(fitted, X)
    containers = {
        "tuple": tuple(X),
        "array of objects": np.array(X, dtype=object),
        "array of strings": np.array(X),
        "Series": pd.Series(X, index=np.arange(len(X))[::-1]),
        "frame": pd.DataFrame({"text": X}),
        "column": np.array(X, dtype=object)[:, None],
    }
    for name, texts in containers.items():
        _assert_equal(_answers(fitted, texts), answers, name)
        again, recorded = _fit(estimator, texts, y)
        _assert_equal(_learnt(again, recorded), learnt, name)


def check_odd_texts(estimator):
    """Empty, long, foreign and repeated texts are texts."""
    odd = ["", " \t\n", "🙂🙃", "שלום عالم", "a\0b", "word " * 3000, "same", "same"]
    texts = [*odd, "some", "words", "more"] * 2
    fitted, recorded = _fit(estimator, texts, np.resize(_NAMES[:2], len(texts)))
    _assert_valid(_learnt(fitted, recorded), fitted, texts)
    _assert_valid(_answers(fitted, odd), fitted, odd)
    for name, values in _answers(fitted, ["same", "", "same"]).items():
        _assert_close(values[0], values[2], name, atol=1e-6)


_CHECKS = [
    check_parameters,
    check_output,
    check_a_refit_forgets,
    check_equal_seeds,
    check_order_of_rows,
    check_label_types,
    check_labels_that_are_missing,
    check_a_class_without_labels,
    check_few_texts_of_a_class,
    check_inputs_are_left_alone,
    check_errors,
    check_not_fitted,
    check_storage,
    check_files,
    check_threads,
]
_TEXT_CHECKS = [check_containers, check_odd_texts]


def _reads_trajectories(estimator):
    return isinstance(estimator, (BasePrior, BaseDenoiser))


def _data(estimator, *, classes=3, labels=None, missing_label=None):
    """Give what an estimator reads, and labels of which some are wrong."""
    texts, y = make_texts(180, random_state=0)
    rows = np.flatnonzero(np.isin(y, _NAMES[:classes]))[:24]
    texts, y = [texts[i] for i in rows], y[rows]
    y[::6] = y[1]
    if not _reads_trajectories(estimator):
        return texts, y
    dynamics = IncrementalDynamics(missing_label=missing_label, random_state=0)
    stages = [dynamics]
    if isinstance(estimator, BaseDenoiser):
        stages.append(ClassifierPrior(missing_label=missing_label))
    read = make_pipeline(*stages).fit_transform(texts, y if labels is None else labels)
    return read, y


def _take(X, rows):
    return X[rows] if isinstance(X, Trajectories) else [X[i] for i in rows]


def _fit(estimator, X, y, *, keep=False, sample_weight=None, **params):
    """Fit a clone with a seed, and give it and its `fit_transform`, if it has one."""
    if not keep:
        estimator = clone(estimator)
        for name, value in estimator.get_params().items():
            if name.rpartition("__")[2] == "random_state" and value is None:
                params[name] = 0
        estimator.set_params(**params)
    weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
    if hasattr(estimator, "fit_transform"):
        return estimator, estimator.fit_transform(X, y, **weighted)
    return estimator.fit(X, y, **weighted), None


def _learnt(fitted, recorded):
    """What is known of the training texts, by name."""
    found = {name: getattr(fitted, name) for name in _LEARNT if hasattr(fitted, name)}
    return found | _arrays(recorded)


def _answers(fitted, X):
    """What is said of texts that may be new, by name."""
    found = {}
    if hasattr(fitted, "transform"):
        found |= _arrays(fitted.transform(X))
    if hasattr(fitted, "predict_proba"):
        found["predict_proba"] = fitted.predict_proba(X)
    return found


def _arrays(trajectories):
    if trajectories is None:
        return {}
    found = {name: getattr(trajectories, name) for name in _MOMENTS}
    return {name: array for name, array in found.items() if array is not None}


def _without_labels(found):
    return {name: values for name, values in found.items() if name != "transduction_"}


def _assert_valid(found, fitted, rows):
    """Check lengths, widths and that numbers are finite and probabilities sum to 1."""
    for name, values in found.items():
        assert len(values) == len(rows), name
        if values.dtype.kind == "f":
            assert np.isfinite(values).all(), name
        if name in _SUMS_OF_ONE:
            assert values.shape[-1] == len(fitted.classes_), name
            assert_allclose(values.sum(axis=-1), 1, atol=1e-3, err_msg=name)
            assert (values >= 0).all(), name


def _assert_equal(found, expected, what=""):
    assert found.keys() == expected.keys(), what
    for name, values in expected.items():
        assert_array_equal(found[name], values, err_msg=f"{what} {name}")


def _assert_numbers_close(found, expected, rtol):
    """Compare the numbers among answers, within a share of the largest or of 1."""
    for name, values in expected.items():
        if values.dtype.kind == "f":
            scale = max(1.0, float(np.abs(values).max()))
            _assert_close(found[name], values, name, atol=rtol * scale)


def _assert_close(found, expected, name, atol):
    assert_allclose(
        found.astype(float), expected.astype(float), atol=atol, err_msg=name
    )


@contextmanager
def _temporary_folder(folder):
    """Have temporary files put in a folder."""
    before = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
