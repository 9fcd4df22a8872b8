"""Texts and labels of every kind: a fitted classifier, or one error that helps.

Each case knows whether it is valid. A valid one has to be fitted, and what it gives has
to be sound; an invalid one has to be refused by an error that names the argument, and
the first row that is wrong. With ``--hypothesis-profile long`` pytest tries 10,000.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skdygen import DyGenClassifier
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics

ODD = [
    "", " ", "\t\n\u3000", "🙂", "👩\u200d👩\u200d👧 family", "שלום عالم", "a\0b", "\0",
    "\u202eright to left", "e\u0301", "\ufeffmark", "<script>alert(1)</script>",
    "{}%s\\", "word " * 300, "x" * 5000, "the cat", "the apple", "[MASK] [PAD] [CLS]",
    "None", "nan", "0",
]  # fmt: skip


@dataclass
class Case:
    """What is passed, and what has to come of it."""

    texts: list
    X: object
    y: object
    missing_label: object = None
    n_classes: int = 0
    wrong: list = field(default_factory=list)  # words that the error has to have


def texts_of(n_samples):
    # Lone surrogates come from elsewhere, with the row that they are in.
    any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    return st.lists(
        st.one_of(st.sampled_from(ODD), any_text),
        min_size=n_samples,
        max_size=n_samples,
    )


def in_python(values):
    return values


def object_array(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


# Containers that hold anything, and such as hold strings only.
FREE = {
    "list": in_python,
    "tuple": tuple,
    "array of objects": object_array,
    "Series": lambda values: pd.Series(object_array(values), dtype=object),
    "column": lambda values: object_array(values)[:, None],
    "frame": lambda values: pd.DataFrame({"t": pd.Series(values, dtype=object)}),
}
STRINGS = FREE | {
    "array of <U": lambda values: np.array(values, dtype=np.str_),
    "StringDType": lambda values: np.array(values, dtype=np.dtypes.StringDType()),
    "polars": lambda values: pl.Series(values, dtype=pl.String),
    "polars frame": lambda values: pl.DataFrame({"t": values}, schema={"t": pl.String}),
    "pyarrow": lambda values: pa.array(values, pa.string()),
    "pyarrow chunks": lambda values: pa.chunked_array([values[:2], values[2:]]),
    "pandas strings": lambda values: pd.Series(values, dtype="string"),
}
# Ways to write class number i as a label.
LABELS = {
    "strings": lambda i: f"class {i}",
    "odd strings": lambda i: ["", " ", "é", "🙂", "nan", "None", "0"][i % 7] + "!" * i,
    "integers": lambda i: i * 7 - 3,
    "numpy integers": lambda i: np.int16(i - 1),
    "whole floats": lambda i: float(i),
    "numpy strings": lambda i: np.str_(i),
}


@st.composite
def label_containers(draw, kind, labels):
    """Labels in a container that can hold them as they are."""
    n_classes = len(set(labels))
    names = ["list", "tuple", "array of objects", "Series"]
    if "strings" in kind:
        names += ["array of <U", "StringDType", "polars", "pyarrow", "categories"]
    else:
        names += ["array", "polars numbers", "pyarrow numbers"]
        if "integers" in kind:
            names += ["Int64"]
    name = draw(st.sampled_from(names))
    if name == "categories":
        unused = ["not used", *sorted(set(labels)), "nor this"]
        return pd.Series(pd.Categorical(labels, categories=unused))
    if name == "array":
        return np.array(labels)
    if name == "polars numbers":
        return pl.Series([label.item() if hasattr(label, "item") else label
                          for label in labels])  # fmt: skip
    if name == "pyarrow numbers":
        return pa.array(np.array(labels))
    if name == "Int64":
        return pd.Series([int(label) for label in labels], dtype="Int64")
    assert n_classes
    return STRINGS[name]([str(v) if "strings" in kind else v for v in labels])


@st.composite
def valid_cases(draw):
    n_samples = draw(st.integers(6, 12))
    texts = draw(texts_of(n_samples))
    kind = draw(st.sampled_from([*LABELS, "booleans"]))
    n_classes = 2 if kind == "booleans" else draw(st.integers(2, n_samples))
    codes = [i % n_classes for i in draw(st.permutations(range(n_samples)))]
    if draw(st.booleans()):  # one class has nearly all
        codes = [code if i < n_classes else codes[0] for i, code in enumerate(codes)]
    codes[:2] = [0, 1]
    name = LABELS.get(kind, bool)
    labels = [name(code) for code in codes]
    container = draw(st.sampled_from(list(STRINGS)))
    missing_label = None
    if draw(st.booleans()):
        missing_label = {"strings": "none at all", "booleans": np.nan}.get(
            kind, draw(st.sampled_from([np.nan, -99])) if "str" not in kind else "none"
        )
        rows = draw(st.sets(st.integers(2, n_samples - 1), max_size=n_samples - 5))
        for row in rows:
            labels[row] = missing_label
            codes[row] = None
        y = object_array([None if label is np.nan else label for label in labels])
    else:
        y = draw(label_containers(kind, labels))
    n_classes = len({code for code in codes if code is not None})
    return Case(texts, STRINGS[container](texts), y, missing_label, n_classes)


def break_text(draw, case):
    row = draw(st.integers(0, len(case.texts) - 1))
    case.texts[row] = draw(
        st.sampled_from([None, np.nan, 3, b"bytes", ["a"], "\ud83d", "a\udc00b", pd.NA])
    )
    container = draw(st.sampled_from(sorted(set(FREE) - {"frame"})))
    case.X, case.wrong = FREE[container](case.texts), ["X", f"row {row}"]


def break_container(draw, case):
    texts = case.texts
    case.X, word = draw(
        st.sampled_from(
            [
                ("one text", "single string"), (iter(texts), "X is a"),
                ((t for t in texts), "X is a generator"), (set(texts), "X is a set"),
                (dict.fromkeys(texts), "X is a dict"),
                (None, "X is a NoneType"), (7, "X is a int"),
                (np.array([texts, texts]).T, "X has shape"), ([], ""),
                (pd.DataFrame({"a": texts, "b": texts}), "X has shape"),
                (texts[:-1], "labels"), ([*texts, "one more"], "labels"),
            ]
        )
    )  # fmt: skip
    case.wrong = [word]


def break_label(draw, case):
    labels = [f"class {i % 2}" for i in range(len(case.texts))]
    row = draw(st.integers(1, len(labels) - 1))
    labels[row] = draw(
        st.sampled_from([None, np.nan, pd.NA, pd.NaT, 3, 2.5, True, b"b"])
    )
    container = draw(st.sampled_from(["list", "tuple", "array of objects", "Series"]))
    case.y, case.missing_label = FREE[container](labels), None
    case.wrong = ["y", f"row {row}"]


def break_labels(draw, case):
    n_samples = len(case.texts)
    strings = [f"class {i % 2}" for i in range(n_samples)]
    case.missing_label = None
    case.y, word = draw(
        st.sampled_from(
            [
                (["same"] * n_samples, "two classes"), (None, "y is None"),
                ("text", "y is a str"), ((s for s in strings), "y is a generator"),
                (dict.fromkeys(range(n_samples)), "y is a dict"),
                (np.linspace(0, 1, n_samples), "continuous"),
                (np.full(n_samples, np.inf), "infinity"),
                (np.array([strings, strings]).T, "y has shape"),
                (strings[:-1], "labels"), ([*strings, "more"], "labels"),
                (np.full(n_samples, np.nan), "row 0"), (7, "y is a int"),
            ]
        )
    )  # fmt: skip
    case.wrong = [word]


@st.composite
def cases(draw):
    """Valid cases, and as many with one thing wrong."""
    case = draw(valid_cases())
    if draw(st.booleans()):
        breaks = [break_text, break_container, break_label, break_labels]
        draw(st.sampled_from(breaks))(draw, case)
    return case


def try_case(clf, case):
    clf = clone(clf).set_params(missing_label=case.missing_label)
    if case.wrong:
        with pytest.raises((ValueError, TypeError)) as caught:
            clf.fit(case.X, case.y)
        for word in case.wrong:
            assert word in str(caught.value), f"{caught.value!r} lacks {word!r}"
        with pytest.raises(NotFittedError):
            clf.predict(["a text"])
        return
    clf.fit(case.X, case.y)
    assert len(clf.classes_) == case.n_classes
    assert (clf.classes_[:-1] < clf.classes_[1:]).all()
    shape = (len(case.texts), case.n_classes)
    for found in (clf.label_distributions_, clf.predict_proba(case.X)):
        assert found.shape == shape
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert np.isin(clf.transduction_, clf.classes_).all()
    issues = clf.label_issues()
    assert (issues["given"] != issues["suggested"]).all()
    assert issues["index"].isin(range(len(case.texts))).all()


EXAMPLES = settings(suppress_health_check=list(HealthCheck), deadline=None)


@EXAMPLES
@given(case=cases())
def test_without_language_model(case):
    clf = DyGenClassifier(
        IncrementalDynamics(n_epochs=2), denoiser=TransitionMatrixDenoiser(),
        random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        # Scikit-learn's own, for a column of texts or a vocabulary of none.
        warnings.simplefilter("ignore")
        try:
            try_case(clf, case)
        except ValueError as error:
            # Texts without a single word have no TF-IDF.
            assert "empty vocabulary" in str(error)  # noqa: PT017


@EXAMPLES
@given(case=cases())
def test_with_language_model(case, tiny_model):
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=1, trainable_layers=0, hidden_size=4, precision="fp32",
    )  # fmt: skip
    clf = DyGenClassifier(dynamics, denoiser=DirichletVAE(n_epochs=1), random_state=0)
    try_case(clf, case)


def fit_frozen(tiny_model, texts, labels, **params):
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=2, trainable_layers=0, hidden_size=4, precision="fp32",
        **params,
    )  # fmt: skip
    clf = DyGenClassifier(dynamics, denoiser=DirichletVAE(n_epochs=1), random_state=0)
    clf.fit(texts, labels)
    assert clf.label_distributions_.shape == (len(texts), len(set(labels)))
    assert np.isfinite(clf.label_distributions_).all()
    found = clf.predict_proba(texts[:5])
    assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    return clf


def test_a_text_of_a_megabyte(tiny_model):
    fit_frozen(tiny_model, ["cat " * 2**18, *"abcdefg"], np.arange(8) % 2)


def test_ten_thousand_duplicates(tiny_model):
    labels = np.where(np.arange(10_000) < 9_000, "cat", "dog")
    clf = fit_frozen(tiny_model, ["the same"] * 10_000, labels)
    # Nothing tells them apart but their labels.
    probabilities = clf.predict_proba(["the same"] * 3)
    assert_allclose(probabilities, np.tile(probabilities[0], (3, 1)))
    assert probabilities[0, 0] > 0.5


def test_a_thousand_classes(tiny_model):
    labels = np.arange(2_100) % 1_000
    texts = [f"text {i}" for i in range(2_100)]
    clf = fit_frozen(tiny_model, texts, labels, n_branches=1)
    assert len(clf.classes_) == 1_000


def test_one_text_in_a_thousand(tiny_model):
    labels = np.where(np.arange(1_001) == 500, "rare", "common")
    texts = ["an apple" if label == "rare" else "the old cat" for label in labels]
    assert fit_frozen(tiny_model, texts, labels).predict(["the cat"]) == ["common"]
