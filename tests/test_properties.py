"""Texts and labels of every kind: a fitted classifier, or one error that helps.

Each case knows whether it is valid. A valid one has to be fitted, and what it gives has
to be sound; an invalid one has to be refused by an error that names the argument, and
the first row that is wrong.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skdygen import DyGenClassifier
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics

# Some draws have the same text everywhere.
pytestmark = pytest.mark.filterwarnings("ignore:all .* texts are alike")
EXAMPLES = settings(suppress_health_check=list(HealthCheck), deadline=None)
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
    missing_label: object
    n_classes: int
    wrong: str = ""  # what the error has to say


def object_array(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


# Containers that hold anything, and such as hold strings or numbers only.
FREE = [list, tuple, object_array, lambda v: pd.Series(object_array(v), dtype=object)]
ARRAYS = [
    lambda v: np.array(v, dtype=np.str_),
    lambda v: np.array(v, dtype=np.dtypes.StringDType()),
    lambda v: pl.Series(v, dtype=pl.String),
    lambda v: pa.array(v, pa.string()),
]
COLUMNS = [
    lambda v: object_array(v)[:, None],
    lambda v: pd.DataFrame({"t": pd.Series(v, dtype=object)}),
    lambda v: pd.Series(v, dtype="string"),
    lambda v: pl.DataFrame({"t": v}, schema={"t": pl.String}),
    lambda v: pa.chunked_array([v[:2], v[2:]]),
]
NUMBERS = [
    np.array,
    lambda v: pl.Series(np.array(v).tolist()),
    lambda v: pa.array(np.array(v)),
]
# Ways to write class number i as a label, what holds such labels, and what is missing.
KINDS = {
    "strings": (
        [
            lambda i: f"class {i}",
            lambda i: ["", " ", "é", "🙂", "nan", "None", "0"][i % 7] + "!" * i,
            np.str_,
        ],
        [*FREE, *ARRAYS, lambda v: pd.Series(v, dtype="category")],
        ["none"],
    ),
    "integers": (
        [lambda i: i * 7 - 3, lambda i: np.int16(i - 1)],
        [*FREE, *NUMBERS, lambda v: pd.Series(np.array(v), dtype="Int64")],
        [np.nan, -99],
    ),
    "floats": ([float], [*FREE, *NUMBERS], [np.nan, -99]),
    "booleans": ([bool], [*FREE, *NUMBERS], [np.nan]),
}


@st.composite
def valid_cases(draw):
    n_samples = draw(st.integers(6, 12))
    # Lone surrogates come from elsewhere, with the row that they are in.
    any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    one_text = st.one_of(st.sampled_from(ODD), any_text)
    texts = draw(st.lists(one_text, min_size=n_samples, max_size=n_samples))
    kind = draw(st.sampled_from(list(KINDS)))
    names, containers, missing = KINDS[kind]
    n_classes = 2 if kind == "booleans" else draw(st.integers(2, n_samples))
    codes = [i % n_classes for i in draw(st.permutations(range(n_samples)))]
    if draw(st.booleans()):  # one class has nearly all
        codes = [code if i < n_classes else codes[0] for i, code in enumerate(codes)]
    codes[:2] = [0, 1]
    name = draw(st.sampled_from(names))
    labels = [name(code) for code in codes]
    missing_label = None
    if draw(st.booleans()):
        missing_label = draw(st.sampled_from(missing))
        rows = draw(st.sets(st.integers(2, n_samples - 1), max_size=n_samples - 5))
        for row in rows:
            labels[row] = None if missing_label is np.nan else missing_label
            codes[row] = None
        containers = [object_array]
    y = draw(st.sampled_from(containers))(labels)
    X = draw(st.sampled_from([*FREE, *ARRAYS, *COLUMNS]))(texts)
    return Case(texts, X, y, missing_label, len(set(codes) - {None}))


@st.composite
def cases(draw):
    """Valid cases, and as many with one thing wrong."""
    case = draw(valid_cases())
    texts, n_samples = case.texts, len(case.texts)
    labels = [f"class {i % 2}" for i in range(n_samples)]
    row = draw(st.integers(1, n_samples - 1))
    what = draw(st.sampled_from(["nothing"] * 4 + ["text", "X", "label", "y"]))
    if what == "text":
        wrong = [None, np.nan, 3, b"bytes", ["a"], "\ud83d", "a\udc00b", pd.NA]
        texts[row] = draw(st.sampled_from(wrong))
        case.X = draw(st.sampled_from([*FREE, COLUMNS[0]]))(texts)
        case.wrong = rf"X.*row {row}\b"
    if what == "X":
        wrong = [
            ("one text", "single string"), (iter(texts), "X is a"),
            ((t for t in texts), "X is a generator"), (set(texts), "X is a set"),
            (dict.fromkeys(texts), "X is a dict"), (None, "X is a NoneType"),
            (7, "X is a int"), (np.array([texts, texts]).T, "X has shape"),
            (pd.DataFrame({"a": texts, "b": texts}), "X has shape"), ([], "X is empty"),
            (texts[:-1], "labels"), ([*texts, "one more"], "labels"),
        ]  # fmt: skip
        case.X, case.wrong = draw(st.sampled_from(wrong))
    if what == "label":
        wrong = [None, np.nan, pd.NA, pd.NaT, 3, 2.5, True, b"b"]
        labels[row] = draw(st.sampled_from(wrong))
        case.y = draw(st.sampled_from(FREE))(labels)
        case.wrong = rf"y.*row {row}\b"
    if what == "y":
        wrong = [
            (["same"] * n_samples, "two classes"), (None, "y is None"),
            ("text", "y is a str"), ((s for s in labels), "y is a generator"),
            (dict.fromkeys(range(n_samples)), "y is a dict"), (7, "y is a int"),
            (np.linspace(0, 1, n_samples), "y.*continuous"),
            (np.full(n_samples, np.inf), "infinity"),
            (np.full(n_samples, np.nan), "y.*row 0"),
            (np.array([labels, labels]).T, "y has shape"),
            (labels[:-1], "labels"), ([*labels, "more"], "labels"),
        ]  # fmt: skip
        case.y, case.wrong = draw(st.sampled_from(wrong))
    if what in ("label", "y"):
        case.missing_label = None
    return case


def assert_sound(clf, X, n_samples):
    for found in (clf.label_distributions_, clf.predict_proba(X)):
        assert found.shape[1] == len(clf.classes_)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert len(clf.label_distributions_) == n_samples
    assert np.isin(clf.transduction_, clf.classes_).all()


def try_case(clf, case):
    clf = clone(clf).set_params(missing_label=case.missing_label)
    if case.wrong:
        with pytest.raises((ValueError, TypeError), match=case.wrong):
            clf.fit(case.X, case.y)
        with pytest.raises(NotFittedError):
            clf.predict(["a text"])
        return
    clf.fit(case.X, case.y)
    assert len(clf.classes_) == case.n_classes
    assert (clf.classes_[:-1] < clf.classes_[1:]).all()
    assert_sound(clf, case.X, len(case.texts))
    issues = clf.label_issues()
    assert (issues["given"] != issues["suggested"]).all()
    assert issues["index"].isin(range(len(case.texts))).all()


def try_without_language_model(case):
    dynamics, denoiser = IncrementalDynamics(n_epochs=2), TransitionMatrixDenoiser()
    with warnings.catch_warnings():
        # Scikit-learn's own, for a column of texts or a vocabulary of none.
        warnings.simplefilter("ignore")
        try:
            try_case(DyGenClassifier(dynamics, None, denoiser, random_state=0), case)
        except ValueError as error:
            # Texts without a single word have no TF-IDF.
            assert "no text in X has a word" in str(error)  # noqa: PT017


# A thousand in two parts, which can run side by side.
PARTS = [pytest.param(500, i, marks=pytest.mark.long) for i in (1, 2)]


@pytest.mark.parametrize(("n", "drawn_by"), [(60, 0), *PARTS])
def test_without_language_model(n, drawn_by):
    test = given(cases())(try_without_language_model)
    seed(drawn_by)(settings(EXAMPLES, max_examples=n)(test))()


def frozen(tiny_model, **params):
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=1, trainable_layers=0, hidden_size=4, precision="fp32",
        **params,
    )  # fmt: skip
    return DyGenClassifier(dynamics, None, DirichletVAE(n_epochs=1), random_state=0)


@settings(EXAMPLES, max_examples=20)
@given(case=cases())
def test_with_language_model(case, tiny_model):
    try_case(frozen(tiny_model), case)


def test_a_text_of_a_megabyte(tiny_model):
    texts = ["cat " * 2**18, *"abcdefg"]
    assert_sound(frozen(tiny_model).fit(texts, np.arange(8) % 2), texts, 8)


def test_one_text_in_a_thousand(tiny_model):
    labels = np.where(np.arange(1_001) == 500, "rare", "common")
    texts = ["an apple" if label == "rare" else "the old cat" for label in labels]
    clf = frozen(tiny_model).fit(texts, labels)
    assert_sound(clf, texts[:5], 1_001)
    assert clf.predict(["the old cat"]) == ["common"]


@pytest.mark.long
def test_a_thousand_classes(tiny_model):
    texts = [f"text {i}" for i in range(2_100)]
    clf = frozen(tiny_model, n_branches=1).fit(texts, np.arange(2_100) % 1_000)
    assert_sound(clf, texts[:5], 2_100)
    assert len(clf.classes_) == 1_000


@pytest.mark.long
def test_ten_thousand_duplicates(tiny_model):
    labels = np.where(np.arange(10_000) < 9_000, "cat", "dog")
    clf = frozen(tiny_model).fit(["the same"] * 10_000, labels)
    # Nothing tells them apart but their labels.
    probabilities = clf.predict_proba(["the same"] * 3)
    assert_allclose(probabilities, np.tile(probabilities[0], (3, 1)))
    assert probabilities[0, 0] > 0.5
