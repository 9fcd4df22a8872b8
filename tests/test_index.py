"""Tables about labels carry the index of what is of pandas, and the texts."""

import copy
import doctest
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skdygen
from skdygen import DyGenClassifier, datasets
from skdygen.dynamics import IncrementalDynamics
from skdygen.inspection import write_report
from tests.conftest import make_word_texts

TEXTS, LABELS = make_word_texts(160)
GIVEN = datasets.make_label_noise(LABELS, "symmetric", 0.3, random_state=0)
TABLE = pd.DataFrame({"text": TEXTS, "given": GIVEN, "right": LABELS})
TRAIN, _ = train_test_split(TABLE, test_size=0.25, random_state=0)


def make(**params):
    return DyGenClassifier(IncrementalDynamics(), random_state=0).set_params(**params)


@pytest.fixture(scope="module")
def fitted():
    return make(store_trajectories=True).fit(TRAIN["text"], TRAIN["given"])


def assert_of_train(table, index=TRAIN.index):
    """Index, position and text of each row belong together."""
    assert len(table) > 5
    rows = table["index"]
    assert_array_equal(table.index, index[rows])
    assert_array_equal(table["text"], TRAIN["text"].iloc[rows])
    given = table["given"].fillna("") == TRAIN["given"].iloc[rows].to_numpy()
    assert given.all()


@pytest.mark.parametrize(
    "index",
    [
        TRAIN.index,
        "ticket " + TRAIN.index.astype(str),
        pd.date_range("2024", periods=len(TRAIN), tz="UTC"),
        pd.MultiIndex.from_arrays([TRAIN.index // 7, TRAIN.index], names=["a", "b"]),
    ],
)
def test_index_and_text_of_pandas(index):
    texts, given = TRAIN["text"].set_axis(index), TRAIN["given"].set_axis(index)
    for X, y in (
        (texts, given), (texts, given.to_numpy()), (texts.to_frame(), given.tolist()),
        (texts.tolist(), given),
    ):  # fmt: skip
        clf = make().fit(X, y)
        for table in (clf.label_issues(), clf.labels_to_check(9, random_state=0)):
            assert_array_equal(table.index, index[table["index"]])
            assert table.index.names == index.names
            assert_array_equal(table["text"], texts.loc[table.index])
    inside = make_pipeline(FunctionTransformer(list), make()).fit(texts, given)
    assert_array_equal(
        inside[-1].label_issues().index, make().fit(texts, given).label_issues().index
    )


def test_positions_where_nothing_is_of_pandas():
    clf = make().fit(TRAIN["text"].tolist(), TRAIN["given"].to_numpy())
    assert_of_train(clf.label_issues(), index=np.arange(len(TRAIN)))


def test_what_is_checked_is_found_by_index_or_position(fitted):
    table = fitted.labels_to_check(30, random_state=0)
    table["verified"] = TRAIN["right"][table.index]
    by_index = table["verified"].sort_index()
    by_position = dict(zip(table["index"], table["verified"], strict=True))
    expected = make().fit(TRAIN["text"], TRAIN["given"], verified=by_position)
    assert_array_equal(
        expected.transduction_[table["index"]], TRAIN["right"][table.index]
    )
    for verified in (
        by_position,
        by_index,
        table.drop(columns="probability").sort_index(),
    ):
        again = make().fit(TRAIN["text"], TRAIN["given"], verified=verified)
        refitted = copy.deepcopy(fitted).refit(verified)
        for clf in (again, refitted):
            assert_array_equal(clf.label_distributions_, expected.label_distributions_)


def test_labels_that_no_text_has_or_several():
    known = pd.Series(["animal"], index=[1000])
    with pytest.raises(ValueError, match="label for 1000, which is not in the index"):
        make().fit(TRAIN["text"], TRAIN["given"], verified=known)
    twice = TRAIN["text"].set_axis(np.arange(len(TRAIN)) // 2)
    with pytest.raises(ValueError, match="for 3, which stands for several texts in"):
        make().fit(twice, TRAIN["given"], verified=known.set_axis([3]))


def test_rows_in_another_order_than_texts(fitted):
    """What goes by position would go to other texts, and nobody would notice."""
    order = np.argsort(TRAIN["text"].to_numpy())
    sheet = TRAIN["right"].iloc[order]
    for fit in (
        lambda v: make().fit(TRAIN["text"], TRAIN["given"], verified=v),
        copy.deepcopy(fitted).refit,
    ):
        with pytest.raises(ValueError, match=r"index of X in another order: .* row 0"):
            fit(sheet)
        assert_array_equal(fit(sheet.loc[TRAIN.index]).transduction_, TRAIN["right"])
    votes = TRAIN[["given", "right"]]
    with pytest.raises(ValueError, match="votes has the index of X in another order"):
        make().fit(TRAIN["text"], votes=votes.iloc[order])
    texts = [f"{i} {text}" for i, text in enumerate(TRAIN["text"])]
    votes = votes.set_axis(texts)
    with pytest.raises(ValueError, match="votes has the index of X in another order"):
        make().fit(texts, votes=votes.iloc[order])
    assert len(make().fit(texts, votes=votes).classes_) == 2
    assert len(make().fit(texts, votes=votes.iloc[order].to_numpy()).classes_) == 2


def test_a_table_of_other_texts(fitted):
    table = fitted.labels_to_check(9, random_state=0)
    table["verified"] = TRAIN["right"][table.index]
    spaced = table.assign(text="  " + table["text"].str.replace(" ", " \r\n"))
    make().fit(TRAIN["text"], TRAIN["given"], verified=spaced)
    for fit in (
        lambda v: make().fit(TRAIN["text"][::-1], TRAIN["given"], verified=v),
        lambda v: fitted.refit(v.assign(index=v["index"].to_numpy()[::-1])),
    ):
        with pytest.raises(ValueError, match=r"verified has the text .* for position"):
            fit(table)


def test_texts_go_neither_with_copies_nor_into_files(fitted, tmp_path):
    fitted.save(tmp_path / "model.skops")
    loaded = skdygen.load(tmp_path / "model.skops")
    dumped = pickle.dumps(fitted)
    first = TRAIN["text"].iloc[0]
    assert first.encode() not in dumped
    for clf in (loaded, pickle.loads(dumped), copy.deepcopy(fitted)):
        table = clf.label_issues()
        assert "text" not in table
        expected = fitted.label_issues().drop(columns="text")
        pd.testing.assert_frame_equal(table, expected)
        assert_of_train(clf.label_issues(TRAIN["text"]))
        assert_of_train(clf.label_issues(TRAIN["text"].tolist()))
        assert_of_train(clf.labels_to_check(9, random_state=0, X=TRAIN["text"]))
        with pytest.raises(ValueError, match=r"X has 160 texts.* fitted on 120"):
            clf.label_issues(TEXTS)
        with pytest.raises(ValueError, match=r"X has other texts .* another order; p"):
            clf.label_issues(TRAIN["text"][::-1])
        clf.label_issues("\r\n" + TRAIN["text"].str.replace(" ", "  "))  # by tables
    verified = TRAIN["right"].head(20)
    assert_array_equal(loaded.refit(verified).transduction_[:20], verified)
    assert_of_train(fitted.label_issues())  # still


def test_texts_stay_after_a_refit():
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = make(store_trajectories=True, final_estimator=final)
    clf.fit(TRAIN["text"], TRAIN["given"])
    for n in (9, 5):
        table = clf.labels_to_check(n, random_state=0)
        clf.refit(table.assign(verified=TRAIN["right"][table.index]))
        assert_of_train(clf.label_issues())


def test_a_table_of_polars(fitted):
    table = fitted.labels_to_check(9, random_state=0)
    table["verified"] = TRAIN["right"][table.index]
    other = pl.from_pandas(table)
    found, expected = (copy.deepcopy(fitted).refit(t) for t in (other, table))
    assert_array_equal(found.label_distributions_, expected.label_distributions_)
    assert_array_equal(found.noise_rate_interval_, expected.noise_rate_interval_)
    with pytest.raises(ValueError, match="verified has the text"):
        fitted.refit(other.with_columns(text=pl.lit("other words")))


def test_any_index_can_be_stored(fitted, tmp_path):
    texts, path = TRAIN["text"], tmp_path / "model.skops"
    days = pd.date_range("2024", periods=len(texts))
    for index, expected in (
        (days, days),
        (texts.index.astype(str), texts.index.astype(str)),
        (days.tz_localize("UTC"), days.tz_localize("UTC").astype(str)),
        (pd.MultiIndex.from_product([["a"], range(len(texts))]), None),
    ):
        clf = make().fit(texts.set_axis(index), TRAIN["given"])
        clf.save(path, overwrite=True)
        issues = skdygen.load(path).label_issues()
        if expected is None:
            expected = pd.Index([str(label) for label in index])
        assert_array_equal(issues.index, expected[issues["index"]])


def test_the_report_of_any_index(fitted, tmp_path):
    texts = TRAIN["text"].set_axis(np.linspace(9, 1, len(TRAIN)))
    clf = make(store_trajectories=True).fit(texts, TRAIN["given"])
    write_report(clf, tmp_path / "one.html", texts)
    write_report(fitted, tmp_path / "other.html", TRAIN["text"])
    one, other = (tmp_path / f"{name}.html" for name in ("one", "other"))
    assert one.read_text() == other.read_text()


def shuffled(values):
    """Return a Series as `train_test_split` gives it, in the same order."""
    order = np.random.RandomState(0).permutation(len(values))
    return pd.Series(list(values), index=order)


@pytest.mark.long
def test_snippets_work_for_series(tmp_path, monkeypatch):
    """The page says the same when texts and labels are Series in any order."""
    monkeypatch.chdir(tmp_path)
    make_texts, make_noise = datasets.make_texts, datasets.make_label_noise
    monkeypatch.setattr(
        datasets,
        "make_texts",
        lambda *a, **k: tuple(map(shuffled, make_texts(*a, **k))),
    )
    monkeypatch.setattr(
        datasets,
        "make_label_noise",
        lambda y, *a, **k: pd.Series(make_noise(y, *a, **k), index=y.index),
    )
    path = Path(__file__).parents[1] / "docs" / "trust.md"
    failed, n = doctest.testfile(str(path), module_relative=False)
    assert n > 10
    assert failed == 0
