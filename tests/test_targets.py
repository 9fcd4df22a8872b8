import warnings
from enum import Enum, IntEnum

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdygen import DyGenClassifier
from skdygen._encoding import check_texts, encode_labels
from skdygen._targets import make_targets
from skdygen._weights import fit_weighted
from skdygen.dynamics import IncrementalDynamics

LARGE = [2**53, None, 2**53 + 1]  # the same number as floats


class Reason(str, Enum):
    RETURN = "return"
    ORDER = "order"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (b"bytes", ValueError, "single string"),
        ([], ValueError, "empty"),
        (["a", "b", float("nan"), 3], TypeError, "row 2 is nan"),
        (["a", 3], TypeError, r"row 1 is 3 \(int\)"),
        (np.array([["a", "b"]]), ValueError, r"shape \(1, 2\)"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "select the column"),
        ((text for text in "ab"), TypeError, "generator"),
        (5, TypeError, "int"),
        (["a", "b \ud800 c"], ValueError, "no valid Unicode in row 1"),
    ],
)
def test_bad_texts(X, error, message):
    with pytest.raises(error, match=message):
        check_texts(X)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([True, False, True], [False, True]),
        (pd.Series([2, 1], dtype="Int64"), [1, 2]),
        (pd.Series(["b", "a"], dtype="category"), ["a", "b"]),
        ([Reason.RETURN, Reason.ORDER], ["order", "return"]),
        ([Level.HIGH, Level.LOW], [1, 2]),
        ([1, 2.0, 3], [1.0, 2.0, 3.0]),
        (np.array([2**64 - 1, 2**64 - 2], np.uint64), [2**64 - 2, 2**64 - 1]),
    ],
)
def test_classes_are_of_the_type_of_the_labels(y, classes):
    found, _ = encode_labels(y)
    assert found.tolist() == classes
    assert type(found.tolist()[0]) is type(classes[0])


@pytest.mark.parametrize(
    ("y", "missing_label", "codes"),
    [
        ([0, -1, 1], -1, [0, -1, 1]),
        (["a", "", "b"], "", [0, -1, 1]),
        (["a", None, "b"], np.nan, [0, -1, 1]),
        (np.array([0, np.nan, 1]), np.nan, [0, -1, 1]),
        (pd.Series([5, pd.NA, 6], dtype="Int64"), np.nan, [0, -1, 1]),
        (pd.Series(["a", None, "b"]), pd.NA, [0, -1, 1]),
        (LARGE, np.nan, [0, -1, 1]),
        (pd.Series(LARGE, dtype="Int64"), np.nan, [0, -1, 1]),
        (pd.Series(LARGE, dtype="int64[pyarrow]"), np.nan, [0, -1, 1]),
        (pl.Series(LARGE), np.nan, [0, -1, 1]),
        (pa.array(LARGE), np.nan, [0, -1, 1]),
        (pd.DataFrame({"a": pd.Series(LARGE, dtype="Int64")}), np.nan, [0, -1, 1]),
        (pl.DataFrame({"a": LARGE}), np.nan, [0, -1, 1]),
        (pa.table({"a": LARGE}), np.nan, [0, -1, 1]),
        (np.ma.array([5, 7, 6], mask=[0, 1, 0]), np.nan, [0, -1, 1]),
        (list(np.ma.array([5, 7, 6], mask=[0, 1, 0])), np.nan, [0, -1, 1]),
        (np.array(["a", -1, "b"], dtype=object), -1, [0, -1, 1]),
        ([Reason.ORDER, "", Reason.RETURN], "", [0, -1, 1]),
    ],
)
def test_missing_labels(y, missing_label, codes):
    classes, found = encode_labels(y, missing_label=missing_label)
    assert len(classes) == 2
    assert_array_equal(found, codes)


@pytest.mark.parametrize(
    ("y", "missing_label", "error", "message"),
    [
        ("abc", None, ValueError, "one label per text"),
        ([[0, 1]] * 3, None, TypeError, "row 0"),
        (np.zeros((3, 2)), None, ValueError, r"shape \(3, 2\)"),
        (["a", None, "b"], None, ValueError, r"row 1 .*missing_label=np.nan"),
        (["a", 1, "b"], None, TypeError, r"row 1 is 1 \(int\), row 0 is 'a'"),
        ([0, True, 1], None, TypeError, "row 1 is True"),
        (["a", "a", "a"], None, ValueError, "one class only, .*'a'"),
        ([-1, 1, 1], -1, ValueError, "1 rows equal missing_label=-1"),
        ([-1, -1, -1], -1, ValueError, "no label at all"),
        (
            ["b", "a\ud800", "a"],
            None,
            ValueError,
            r"no valid Unicode in row 1: 'a\\ud8",
        ),
        (np.array(["b", "b", "\udfff"]), None, ValueError, "valid Unicode in row 2"),
        (["a", "a\0", "b"], None, ValueError, r"'a\\x00' in row 1, .* strip the NUL"),
        (np.array(["a", "b", "b\0"], object), None, ValueError, "in row 2, .*NUL"),
        ([1, 10**30, 2], None, ValueError, "row 1, which is too large .* use strings"),
        ([1, 2**63, -1], None, ValueError, "row 1, which is too large .* use strings"),
        ([1.0, 1e30, 2.0], None, ValueError, r"too large .* 1e\+30 in row 1"),
        (pd.Series(LARGE), np.nan, ValueError, r"as float64, .* in row 0, .* integers"),
        (np.float32([1, 2**24, 2]), None, ValueError, "as float32, .* in row 1"),
        ([1.0, 2**53 + 1, 2.0], None, ValueError, "9007199254740993 in row 1"),
        ([1.0, 10**400, 2.0], None, ValueError, "too large for 64 bits; use strings"),
        ([1.0, 0.5, 2.0], None, ValueError, "continuous values, such as 0.5 in row 1"),
        (np.ma.array([1, 2, 1], mask=[0, 1, 0]), None, ValueError, "no label in row 1"),
        (["a", "", "b"], [""], ValueError, r"missing_label=\[''\] is a list, but one"),
        ([0, 1, -1], "-1", ValueError, r"the type str, but y has -1 in row 2 \(int\)"),
        ([0.0, 1.0, -1.0], "-1", ValueError, "the type str, but y has -1.0 in row 2"),
        (["0", "1", "-1"], -1, ValueError, "the type int, but y has '-1' in row 2"),
        ([0, 1, 2], False, ValueError, "the type bool, but y has 0 in row 0"),
    ],
)
def test_bad_labels(y, missing_label, error, message):
    with pytest.raises(error, match=message):
        encode_labels(y, missing_label=missing_label, n_samples=3)


@pytest.mark.parametrize(
    ("y", "votes", "message"),
    [
        (["a", "b", "", ""], None, "'' is a class of 2 labels, first in row 2; if it"),
        ([" ", "b", "b", "b"], None, "first in row 0; .* pass missing_label=' '"),
        (
            ["a", "b", "b", "a"],
            [["b"], ["b"], ["b"], [""]],
            "'' is a class of 0 labels",
        ),
    ],
)
def test_blank_labels_are_warned_of_once(y, votes, message):
    clf = DyGenClassifier(IncrementalDynamics(n_epochs=2), random_state=0)
    with pytest.warns(UserWarning, match=message) as warned:
        clf.fit(["a cat", "a dog", "an apple", "a plum"], y, votes=votes)
    assert sum("is a class of" in str(w.message) for w in warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_targets(["a", "b", ""], missing_label="")


def test_classes_written_alike_are_warned_of():
    with pytest.warns(UserWarning, match=r"'fruit' and 'Fruit ' are two classes"):
        targets = make_targets(["fruit", "Fruit ", "tool", "fruit"])
    with pytest.warns(UserWarning, match=r"'TOOL' and 'tool' .* write them alike"):
        found = targets.verify({0: "TOOL"})
    assert found.classes.tolist() == ["Fruit ", "TOOL", "fruit", "tool"]
    with pytest.warns(UserWarning, match=r"'fruit  ' and 'Fruit ' are two"):
        targets.verify({0: "fruit  "})
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter("error")
        found.verify({1: "fruit", 2: "animal"})
        make_targets(["", " ", "C", "C++"], missing_label="none")


def test_labels_against_known_classes():
    known = np.array(["a", "b", "c"])
    classes, codes = encode_labels(["b", "c", "b"], classes=known)
    assert classes.tolist() == ["a", "b", "c"]
    assert_array_equal(codes, [1, 2, 1])
    with pytest.raises(ValueError, match="label 'd' in row 1"):
        encode_labels(["b", "d"], classes=known)
    with pytest.raises(ValueError, match="one class only, 'b'"):
        encode_labels(["b", "b"], classes=known)


def test_targets():
    targets = make_targets(["b", "a", "", "b"], missing_label="")
    assert targets.classes.tolist() == ["a", "b"]
    assert targets.codes.tolist() == [1, 0, -1, 1]
    assert targets.weights.tolist() == [1, 1, 0, 1]
    assert targets.labelled.tolist() == [0, 1, 3]
    # A label that does not count is as if it were missing.
    targets = make_targets(["b", "a", "", "b"], [0, 2, 3, 0.5], missing_label="")
    assert targets.codes.tolist() == [-1, 0, -1, 1]
    assert targets.weights.tolist() == [0, 2, 0, 0.5]


def test_targets_with_verified_labels():
    given = ["b", "d", "", "b"]
    targets = make_targets(given, None, {2: "c", 0: "a", 3: "d"}, missing_label="")
    assert targets.classes.tolist() == ["a", "b", "c", "d"]
    assert targets.codes.tolist() == [1, 3, -1, 1]
    assert targets.verified.tolist() == [0, -1, 2, 3]
    assert targets.checked.tolist() == [0, 2, 3]
    assert targets.given_as(1).tolist() == [0, 3]
    # The first stage sees what it would see if nobody had looked.
    as_given, expected = targets.as_given(), make_targets(given, missing_label="")
    assert as_given.classes.tolist() == expected.classes.tolist() == ["b", "d"]
    assert as_given.codes.tolist() == expected.codes.tolist() == [0, 1, -1, 0]
    assert not len(as_given.checked)
    more = targets.verify({1: "e", 0: "b"})
    assert more.classes.tolist() == ["a", "b", "c", "d", "e"]
    assert more.codes.tolist() == [1, 3, -1, 1]
    assert more.verified.tolist() == [1, 4, 2, 3]


def test_verified_labels_stay_apart():
    hidden = np.ma.array([2**53 + 1, 2**53, 9], mask=[0, 0, 1])
    for verified in (hidden, pl.Series([*LARGE[::-2], None]), {0: 2**53 + 1, 1: 2**53}):
        targets = make_targets([1, 2, 1], verified=verified)
        assert targets.classes.tolist() == [1, 2, 2**53, 2**53 + 1]
        assert targets.verified.tolist() == [3, 2, -1]
    for given, verified, message in (
        (["a", "b"], ["a\0", None], r"verified has the label 'a\\x00' in row 0"),
        ([1.0, 2.0], [2**53, 2**53 + 1], "no type holds together"),
        ([1, -1, 2], [None, "-1", 1], "the type int, but verified has '-1' in row 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make_targets(given, verified=verified, missing_label=-1)


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [
        ([1, 1], "inconsistent numbers of samples|sample_weight.shape"),
        ([1, -1, 1], "sample_weight has -1 in row 1, but numbers from 0 to 1,000,000"),
        ([1, 1, np.nan], "nan in row 2"),
        ([1, None, 1], "None in row 1"),
        ([1, "a", 1], "'a' in row 1"),
        ([1, 1e300, 1], r"1e\+300 in row 1, .*; divide large ones by their mean"),
        (pd.Series([1, 1, pd.NA], index=[7, 8, 9]), "<NA> in row 2"),
        (np.ma.masked_array([1, 1, 1], [0, 1, 0]), "None in row 1"),
        ([0, 0, 0], "sample_weight|zero"),
        ([1, 0, 1], r"labels of 1 class\(es\) only"),
    ],
)
def test_bad_weights(sample_weight, message):
    with pytest.raises(ValueError, match=message):
        make_targets(["a", "b", "a"], sample_weight)


class Noting(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        self.weights_ = sample_weight
        return super().fit(X, y, sample_weight)


def test_every_step_that_takes_weights_gets_them():
    rng = np.random.RandomState(0)
    X, y, weights = rng.randn(40, 2), rng.randint(2, size=40), rng.randint(3, size=40)
    stages = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), Noting()))
    model = fit_weighted(stages, X, y, weights)
    repeated = StandardScaler().fit(np.repeat(X, weights, axis=0)).mean_
    assert_allclose(model[0].mean_, repeated)
    assert model[-1][-1].weights_ is weights
    assert fit_weighted(Noting(), X, y, None).weights_ is None
    fit_weighted(KNeighborsClassifier(), X, y, weights)  # takes none
    with config_context(enable_metadata_routing=True):
        for is_asked in (True, False):  # a request decides, if it is to
            model = Noting().set_fit_request(sample_weight=is_asked)
            found = fit_weighted(model, X, y, weights, on_request=True).weights_
            assert (found is weights) == is_asked
            assert fit_weighted(model, X, y, weights).weights_ is weights
