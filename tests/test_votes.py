"""Several labels for a text: what is taken, what it becomes, and what is refused."""

import logging
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skdygen
from skdygen import DyGenClassifier, DyGenCorrector
from skdygen._targets import make_targets
from skdygen._votes import encode_votes
from skdygen.dynamics import IncrementalDynamics
from skdygen.votes import majority_vote, votes_from_lists, votes_from_long
from tests.conftest import make_word_texts

TEXTS, LABELS = make_word_texts(120)
# Three annotators, of whom each is wrong on a fifth and silent on a third.
_rng = np.random.RandomState(0)
VOTES = np.where(LABELS == "fruit", 1, 0)[:, None].repeat(3, axis=1)
VOTES = np.where(_rng.rand(120, 3) < 0.2, 1 - VOTES, VOTES).astype(float)
VOTES[_rng.rand(120, 3) < 0.33] = np.nan
FRAME = pd.DataFrame(
    np.array(["animal", "fruit", None], dtype=object)[
        np.where(np.isnan(VOTES), 2, VOTES).astype(int)
    ],
    columns=["ann", "bob", "cid"],
)
MAJORITY = majority_vote(FRAME, missing_label="")
STORED = sparse.csr_array(
    (VOTES[~np.isnan(VOTES)].astype(int), np.nonzero(~np.isnan(VOTES))), VOTES.shape
)


def make(**params):
    return DyGenClassifier(IncrementalDynamics(), random_state=0).set_params(**params)


def as_table(votes, n_annotators):
    """Votes as a list of rows of labels, None where there is none."""
    table = np.full((votes.n_samples, n_annotators), None)
    table[votes.rows, votes.annotators] = votes.codes
    return table.tolist()


NUMBERS = np.array([[0, 1], [np.nan, 1], [2, np.nan]])


@pytest.mark.parametrize(
    ("votes", "missing_label", "classes"),
    [
        (NUMBERS, None, [0, 1, 2]),
        (NUMBERS.astype(np.float32), -1, [0, 1, 2]),
        (np.nan_to_num(NUMBERS, nan=-1).astype(np.int8), -1, [0, 1, 2]),
        ([[0, 1], [None, 1], [2, pd.NA]], np.nan, [0, 1, 2]),
        ([(0, 1), (-1, 1), (2, None)], -1, [0, 1, 2]),
        (pd.DataFrame(NUMBERS).convert_dtypes(), None, [0, 1, 2]),
        (pd.DataFrame({"a": [0, None, 2], "b": [1, 1, -1]}), -1, [0, 1, 2]),
        (sparse.coo_array(([0, 1, 1, 2], ([0, 0, 1, 2], [0, 1, 1, 0]))), 9, [0, 1, 2]),
        (sparse.csc_matrix(([0, 1, 1, 2.0], ([0, 0, 1, 2], [0, 1, 1, 0]))), 9,
         [0, 1, 2]),
        ([["a", "bc"], ["", "bc"], ["d", pd.NaT]], "", ["a", "bc", "d"]),
        (np.array([["a", "bc"], ["", "bc"], ["d", ""]]), "", ["a", "bc", "d"]),
        (pd.DataFrame({"x": ["a", None, "d"], "y": ["bc", "bc", None]}, dtype="string"),
         None, ["a", "bc", "d"]),
        (pd.DataFrame({"x": ["a", None, "d"], "y": ["bc", "bc", None]}).astype(
            "category"), "e", ["a", "bc", "d"]),
        (pl.DataFrame({"x": ["a", None, "d"], "y": ["bc", "bc", None]}), None,
         ["a", "bc", "d"]),
    ],
)  # fmt: skip
def test_kinds_of_votes(votes, missing_label, classes):
    found, encoded = encode_votes(votes, missing_label=missing_label, n_samples=3)
    assert found.tolist() == classes
    assert found.dtype.kind == ("i" if classes[0] == 0 else "U")
    assert as_table(encoded, 2) == [[0, 1], [None, 1], [2, None]]
    assert encoded.rows.tolist() == [0, 0, 1, 2]
    assert {a.dtype for a in (encoded.rows, encoded.annotators, encoded.codes)} == {
        np.dtype(np.int64)
    }
    assert encoded.names.tolist() == list(getattr(votes, "columns", range(2)))
    assert (encoded.confidence, encoded.n_samples) == (None, 3)


def test_booleans_with_holes():
    for votes in ([[True, None], [False, True]], pd.DataFrame(
        {"a": [True, False], "b": [None, True]}, dtype="boolean"
    )):  # fmt: skip
        classes, encoded = encode_votes(votes)
        assert classes.tolist() == [False, True]
        assert as_table(encoded, 2) == [[1, None], [0, 1]]


LARGE = {"x": [2**53, None, 3], "y": [2**53 + 1, 3, None]}
MASKED = np.ma.masked_equal([[2**53, 2**53 + 1], [7, 3], [3, 7]], 7)


@pytest.mark.parametrize(
    "votes",
    [
        list(zip(*LARGE.values(), strict=True)),
        pd.DataFrame(LARGE, dtype="Int64"),
        pd.DataFrame(LARGE, dtype="int64[pyarrow]"),
        pl.DataFrame(LARGE),
        pa.table(LARGE),
        MASKED,
        list(MASKED),
    ],
)
def test_large_integers_with_holes(votes):
    classes, encoded = encode_votes(votes)
    assert classes.tolist() == [3, 2**53, 2**53 + 1]
    assert as_table(encoded, 2) == [[1, 2], [None, 0], [0, None]]


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, sparse.csr_array, list])
def test_confidence(kind):
    stated = kind([[0.5, 1.0], [0.0, np.nan], [np.nan, 0.25]])
    _, encoded = encode_votes(NUMBERS, confidence=stated)
    assert_array_equal(
        np.nan_to_num(encoded.confidence, nan=-1), [0.5, 1.0, -1, -1]
    )  # one of no vote is not needed
    assert encode_votes(NUMBERS, confidence=NUMBERS * np.nan)[1].confidence is None
    named = pd.DataFrame(NUMBERS, columns=["a", "b"])
    with pytest.raises(ValueError, match="named differently"):
        encode_votes(named, confidence=named[["b", "a"]] / 2)


def test_who_is_never_sure_is_as_sure_as_usual():
    votes = pd.DataFrame({"a": [0, 1, 0], "b": [1, 1, 0]})
    sure = pd.DataFrame({"a": [0.0, 0.0, 0.0], "b": [0.5, np.nan, 1.0]})
    found = encode_votes(votes, n_samples=3, confidence=sure)[1].trust
    assert_allclose(np.sort(found), [2 / 3, 1, 1, 1, 1, 4 / 3])


def test_annotators_without_a_vote_are_left_out(caplog):
    with caplog.at_level(logging.INFO, logger="skdygen"):
        votes = FRAME.assign(dan=None)[["ann", "dan", "bob", "cid"]]
        _, found = encode_votes(votes)
    assert caplog.messages == ["1 of 4 annotators have no vote and are left out"]
    _, expected = encode_votes(FRAME)
    assert found.names.tolist() == expected.names.tolist() == ["ann", "bob", "cid"]
    assert_array_equal(found.annotators, expected.annotators)


def test_many_votes_in_little_memory():
    rng = np.random.RandomState(0)
    shape, n_votes = (100_000, 100), 300_000
    places = rng.choice(shape[0] * shape[1], n_votes, replace=False)
    labels = rng.randint(0, 5, n_votes)
    votes = sparse.coo_array((labels, np.unravel_index(places, shape))).tocsr()
    tracemalloc.start()
    targets = make_targets(None, votes=votes, n_samples=shape[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(targets.votes.codes) == n_votes
    assert peak < 80e6  # bytes; as much as one dense array of such numbers


def test_majority():
    votes = [[1, 0, None], [2, 1, 0], [2, 2, 1], [None] * 3, [0, 0, 1]]
    # Four for 0, four for 1, three for 2: ties go to 2, and to the first of 0 and 1.
    assert majority_vote(votes, missing_label=-1).tolist() == [0, 2, 2, -1, 0]
    assert majority_vote(votes).tolist() == [0, 2, 2, None, 0]
    assert majority_vote(votes[:3]).tolist() == [0, 0, 2]
    assert majority_vote([["a", "b"], [None, "b"]]).tolist() == ["a", "b"]
    longer = majority_vote([["a", "b"], [None, None]], missing_label="unlabelled")
    assert longer.tolist() == ["a", "unlabelled"]
    assert longer.dtype.kind == "U"
    assert majority_vote(STORED, missing_label=-1).dtype == np.int64


def test_targets_with_votes():
    given = ["b", "", "a", "b"]
    votes = pd.DataFrame({"x": ["c", "a", None, "b"], "y": ["b", "c", None, None]})
    targets = make_targets(
        given, None, {0: "aa", 2: "d"}, votes, missing_label="", n_samples=4
    )
    assert targets.classes.tolist() == ["a", "aa", "b", "c", "d"]
    assert targets.codes.tolist() == [2, 0, 0, 2]  # the majority, where y has none
    assert as_table(targets.votes, 2) == [[3, 2], [0, 3], [None, None], [2, None]]
    assert targets.verified.tolist() == [1, -1, 4, -1]
    as_given = targets.as_given()  # what is voted for is given, what is verified not
    assert as_given.classes.tolist() == ["a", "b", "c"]
    assert as_given.codes.tolist() == [1, 0, 0, 1]
    assert as_table(as_given.votes, 2) == [[2, 1], [0, 2], [None, None], [1, None]]
    # A weight of 0 takes the votes with it.
    weighed = make_targets(given, [0, 0, 1, 1], None, votes, missing_label="")
    assert as_table(weighed.votes, 2)[:2] == [[None, None], [None, None]]
    # Without labels the majority; nobody has seen the third text.
    targets = make_targets(None, None, None, votes, n_samples=4)
    assert targets.classes.tolist() == ["a", "b", "c"]
    assert targets.codes.tolist() == [1, 0, -1, 1]
    assert targets.weights.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(("missing", "dtype"), [("", None), (np.nan, object)])
def test_one_column_that_is_y_changes_nothing(missing, dtype):
    y = np.array(["a", "b", missing, "a"], dtype=dtype)
    column = pd.DataFrame({"who": y})
    for labels in (y, None):
        found = make_targets(
            labels, None, None, column, missing_label=missing, n_samples=4
        )
        expected = make_targets(y, missing_label=missing)
        assert found.votes is None
        for name in ("classes", "codes", "weights", "verified"):
            assert_array_equal(
                getattr(found, name), getattr(expected, name), strict=True
            )
    column.iloc[1] = "a"  # says something else
    assert make_targets(y, None, None, column, missing_label=missing).votes is not None
    sure = [[0.5], [None], [None], [None]]
    column.iloc[1] = "b"
    assert make_targets(y, None, None, column, sure, missing_label=missing).votes


def test_classes_of_a_fit():
    """To the bit with one column; y of floats keeps them."""
    column, y = VOTES[:, :1], VOTES[:, 0]
    plain = make(missing_label=np.nan).fit(TEXTS, y)
    found = make(missing_label=np.nan).fit(TEXTS, y, votes=column)
    assert_array_equal(found.label_distributions_, plain.label_distributions_)
    assert_array_equal(found.transduction_, plain.transduction_, strict=True)
    alone = make().fit(TEXTS, votes=column)
    assert_array_equal(alone.label_distributions_, plain.label_distributions_)
    assert alone.classes_.dtype == np.int64


@pytest.mark.parametrize("votes", [FRAME, FRAME.to_numpy(), FRAME.to_numpy().tolist()])
def test_fit_with_votes_only(votes):
    clf = make().fit(TEXTS, votes=votes)
    assert clf.classes_.tolist() == ["animal", "fruit"]
    assert_array_equal(clf._targets.codes >= 0, FRAME.notna().any(axis=1))
    is_given = MAJORITY != ""
    given = clf.classes_[clf._targets.codes[is_given]]
    assert_array_equal(given, MAJORITY[is_given])
    assert (clf.transduction_ == LABELS).mean() > 0.8
    assert clf._targets.votes.n_samples == 120


def test_a_class_that_is_only_voted_for(tmp_path):
    votes = FRAME.copy()
    votes.loc[0] = [MAJORITY[0], MAJORITY[0], "tool"]
    clf = make(store_trajectories=True, missing_label="", memory=tmp_path)
    clf.fit(TEXTS, MAJORITY, votes=votes)
    assert clf.classes_.tolist() == ["animal", "fruit", "tool"]
    assert clf.predict_proba(TEXTS).shape == (120, 3)
    clf.refit({1: "bird"})
    assert clf.classes_.tolist() == ["animal", "bird", "fruit", "tool"]
    _, expected = encode_votes(votes)
    assert_array_equal(
        clf.classes_[clf._targets.votes.codes],
        np.array(["animal", "fruit", "tool"])[expected.codes],
    )
    # Nor does it hinder a first stage that is not ours, or one that came before.
    others = make(dynamics=make_pipeline(FunctionTransformer(), IncrementalDynamics()))
    others.set_params(missing_label="").fit(TEXTS, votes=votes)
    assert others.predict_proba(TEXTS).shape == (120, 3)
    recorded = IncrementalDynamics(missing_label="", random_state=0)
    recorded = recorded.fit_transform(TEXTS, MAJORITY)
    before = make(dynamics="precomputed", missing_label="")
    assert len(before.fit(recorded, votes=votes).classes_) == 3


def test_votes_are_part_of_what_a_cache_knows(tmp_path, caplog):
    clf = make(memory=tmp_path, missing_label="")
    other = FRAME.assign(cid=None)
    for votes, n_taken in ((FRAME, 0), (FRAME, 1), (other, 0)):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="skdygen"):
            clone(clf).fit(TEXTS, MAJORITY, votes=votes)
        taken = [m for m in caplog.messages if "fit of IncrementalDynamics" in m]
        assert len(taken) == n_taken


def test_file(tmp_path):
    clf = make().fit(TEXTS, votes=FRAME)
    clf.save(tmp_path / "model.skops")
    loaded = skdygen.load(tmp_path / "model.skops")
    for name, value in vars(clf._targets.votes).items():
        assert_array_equal(getattr(loaded._targets.votes, name), value)


@pytest.mark.parametrize("votes", [FRAME, STORED], ids=["frame", "sparse"])
def test_metadata_routing_and_search(votes):
    y = majority_vote(votes, missing_label="" if votes is FRAME else -1)
    missing_label = "" if votes is FRAME else -1
    grid = {"denoiser__given_weight": [1.0, 3.0]}
    with config_context(enable_metadata_routing=True):
        clf = make(missing_label=missing_label).set_fit_request(votes=True)
        seen = []
        for search in (
            GridSearchCV(clf, grid, cv=3),
            HalvingGridSearchCV(clf, grid, cv=3, random_state=0, min_resources=60),
        ):
            search.fit(TEXTS, y, votes=votes)
            seen.append(search.best_estimator_._targets.votes)
        found = cross_val_predict(clone(clf), TEXTS, y, params={"votes": votes})
        named = np.array(["animal", "fruit"])[found] if votes is STORED else found
        assert (named == LABELS).mean() > 0.8
        pipeline = Pipeline([("lower", FunctionTransformer()), ("clf", clf)])
        seen.append(pipeline.fit(TEXTS, votes=votes)[-1]._targets.votes)
    _, expected = encode_votes(votes)
    for one in seen:
        assert_array_equal(one.rows, expected.rows)
        assert_array_equal(one.annotators, expected.annotators)


def test_a_fold_may_lack_an_annotator():
    votes = FRAME.assign(dan=None, eve=None)
    votes.loc[:39, "dan"] = LABELS[:40]
    votes.loc[40:, "eve"] = LABELS[40:]
    with config_context(enable_metadata_routing=True):
        clf = make(missing_label="").set_fit_request(votes=True)
        found = cross_val_predict(
            clf, TEXTS, MAJORITY, cv=KFold(3), params={"votes": votes}
        )
    assert (found == LABELS).mean() > 0.8


def test_corrector():
    kept, corrected = DyGenCorrector(make()).fit_resample(TEXTS, votes=FRAME)
    assert kept == TEXTS
    assert_array_equal(corrected, make().fit(TEXTS, votes=FRAME).transduction_)


TWO = np.array([["a", "b"], ["b", "b"], ["a", "a"]], dtype=object)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({}, ValueError, "requires y to be passed"),
        ({"vote_confidence": TWO}, ValueError, "vote_confidence is passed without"),
        ({"votes": TWO[:2]}, ValueError, "X has 3 texts but votes has 2 rows"),
        ({"votes": TWO[:, 0]}, ValueError, r"votes has shape \(3,\), but a row for"),
        ({"votes": [["a"], ["a", "b"], []]}, ValueError, r"votes has shape \(3,\)"),
        ({"votes": [[None, None]] * 3}, ValueError, "votes has no vote at all"),
        ({"votes": np.empty((3, 0))}, ValueError, "votes has no vote at all"),
        ({"votes": [["a", "b"], ["a", "\ud800"], ["a", "b"]]}, ValueError,
         "votes has a label that is no valid Unicode in row 1"),
        ({"votes": pd.DataFrame({"x": ["a", "b", "\ud800"]}, dtype=object)}, ValueError,
         "votes has a label that is no valid Unicode in row 2"),
        ({"votes": [["a", "a"]] * 3}, ValueError, "one class only .* chose, 'a'"),
        ({"votes": [["a", "b"], ["a", 1], ["a", "b"]]}, TypeError,
         r"votes has 1 \(int\) in row 1 of column 1, and 'a' \(str\) before"),
        ({"votes": pd.DataFrame({"x": [1, 2, 2], "y": [None, "a", "b"]})}, TypeError,
         r"votes has 'a' \(str\) in row 1 of column 'y', and 1 \(int\) before"),
        ({"votes": [[b"a", b"b"]] * 3}, TypeError,
         r"votes has b'a' \(bytes\) in row 0"),
        ({"votes": [[1, True], [0, False], [1, True]]}, TypeError,
         r"votes has True \(bool\) in row 0 of column 1"),
        ({"votes": [[1, 0.5], [0, 1], [1, 1]]}, ValueError,
         r"votes, in column 1, holds continuous values, such as 0\.5 in row 0, but"),
        ({"votes": [[1, 0], [0, np.inf], [1, 1]]}, ValueError,
         "votes, in column 1, contains infinity, such as inf in row 1"),
        ({"votes": [["a", "b"], ["a", "b\0"], ["a", "b"]]}, ValueError,
         "votes, in column 1, has the label .* in row 1, .* strip the NUL"),
        ({"votes": [[1, 2], [1, 2**64], [1, 2]]}, ValueError,
         "votes, in column 1, has the integer 18446744073709551616 in row 1"),
        ({"votes": np.array([[1, 2], [1, 2**63], [1, 2]], np.uint64)}, ValueError,
         "votes, in column 1, has the integer 9223372036854775808 in row 1"),
        ({"votes": pd.DataFrame(LARGE)}, ValueError, "in column 'x', .* float64"),
        ({"votes": pd.DataFrame(TWO, columns=["x", "x"])}, ValueError,
         "votes has two columns named 'x'"),
        ({"votes": sparse.coo_array(([1, 2, 1], ([0, 0, 2], [1, 1, 1])))}, ValueError,
         "votes stores two values at one place"),
        ({"votes": TWO, "y": [1, 2, 1]}, TypeError,
         r"votes has 'a' \(str\) in row 0 of column 0, but labels are such as 1 \(int"),
        ({"votes": TWO, "y": ["a", "b"]}, ValueError, "y has 2 labels"),
        ({"votes": TWO, "y": ["a", "a", "a"]}, ValueError, "y has one class only"),
        ({"votes": TWO, "vote_confidence": [[1, 1]] * 2}, ValueError,
         "X has 3 texts but vote_confidence has 2 rows"),
        ({"votes": TWO, "vote_confidence": [[1]] * 3}, ValueError,
         "vote_confidence has 1 columns and votes has 2"),
        ({"votes": TWO, "vote_confidence": [[1, 1], [1, 1.5], [1, 1]]}, ValueError,
         r"vote_confidence has 1\.5 in row 1 of column 1; it must be between"),
        ({"votes": TWO, "vote_confidence": [[1, 1], ["sure", 1], [1, 1]]}, ValueError,
         "vote_confidence has 'sure' in row 1 of column 0"),
    ],
)  # fmt: skip
def test_errors(params, error, message):
    with pytest.raises(error, match=message):
        make().fit(TEXTS[:3], **params)


def test_markers_of_votes():
    assert majority_vote([[1, 2], [None, None]], missing_label=pd.NA)[1] is pd.NA
    for missing_label, message in (("2", "2 in row 0"), ([2], "is a list, but one")):
        with pytest.raises(ValueError, match=message):
            majority_vote([[1, 2], [1, 1]], missing_label=missing_label)


def test_tables_of_large_integers():
    votes = votes_from_lists([[("a", 2**53), ("b", 2**53 + 1)], [("a", 1)]])
    assert votes.loc[0].tolist() == [2**53, 2**53 + 1]
    assert encode_votes(votes)[0].tolist() == [1, 2**53, 2**53 + 1]


def test_votes_from_long():
    table = pd.DataFrame({
        "body": ["b", "a", "b", "c"], "who": [7, 7, 2, 2],
        "tag": ["x", "y", "y", None],
    })  # fmt: skip
    names = {"text": "body", "annotator": "who", "label": "tag"}
    votes = votes_from_long(table, **names)
    assert (votes.index.tolist(), votes.columns.tolist()) == (["b", "a", "c"], [7, 2])
    expected = [["x", "y"], ["y", None], [None, None]]
    assert votes.astype(object).where(votes.notna(), None).to_numpy().tolist() == (
        expected
    )
    with pytest.raises(ValueError, match="annotator 7 has two labels for text 'b'"):
        votes_from_long(pd.concat([table, table[:1]]), **names)
    unsaid = table[:1].assign(tag=None)  # null is no vote
    assert votes_from_long(pd.concat([unsaid, table]), **names).equals(votes)
    with pytest.raises(ValueError, match="'text' is no column of the table; it has 'b"):
        votes_from_long(table)
    with pytest.raises(ValueError, match="column 'who' is null in row 1"):
        votes_from_long(table.assign(who=[1, None, 2, 3]), **names)
    long = FRAME.assign(text=TEXTS).melt(
        "text", var_name="annotator", value_name="label"
    )
    votes = votes_from_long(long.drop_duplicates(["text", "annotator"]))
    assert make().fit(votes.index, votes=votes)._targets.votes is not None


def test_votes_from_lists():
    pairs = [[("ann", "x"), ("bob", "y")], [], [("bob", "x")]]
    rows = ['[["ann", "x"], ["bob", "y"]]', "[]", '[["bob", "x"]]']
    for one in (pairs, rows, pd.Series(rows)):
        votes = votes_from_lists(one)
        assert votes.columns.tolist() == ["ann", "bob"]
        assert votes.index.tolist() == [0, 1, 2]
        assert votes["bob"].isna().tolist() == [False, True, False]
        assert majority_vote(votes, missing_label="").tolist() == ["y", "", "x"]
    two_letters = {"a1": "spam", "b1": "ham"}
    for wrong in ("", "nothing", "[1]", np.nan, [("ann",)], two_letters, ["ab"]):
        with pytest.raises(ValueError, match=r"row 1 is .*, but a list of pairs"):
            votes_from_lists([[], wrong])
    with pytest.raises(ValueError, match="annotator 'ann' has two labels for text 1"):
        votes_from_lists([[], [("ann", 1), ("ann", 1)]])
    assert votes_from_lists([[], []]).shape == (2, 0)
