import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import DataConversionWarning

from skdygen._targets import check_texts, encode_labels, make_targets

TEXTS = ["one", "", "three"]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: np.array(texts).reshape(-1, 1),
        pd.Series,
        lambda texts: pd.Series(texts, index=[7, 7, 9], dtype="string"),
        lambda texts: pd.DataFrame({"text": texts}),
    ],
)
def test_containers_of_texts(make):
    assert check_texts(make(TEXTS)) == TEXTS


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("one text", ValueError, "single string"),
        (b"bytes", ValueError, "single string"),
        ([], ValueError, "empty"),
        (["a", None], TypeError, "row 1 is None"),
        (["a", "b", float("nan"), 3], TypeError, "row 2 is nan"),
        (["a", 3], TypeError, r"row 1 is 3 \(int\)"),
        ([b"a"], TypeError, "row 0"),
        (pd.Series(["a", None]), TypeError, "row 1"),
        (np.array([["a", "b"]]), ValueError, r"shape \(1, 2\)"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "select the column"),
        ((text for text in TEXTS), TypeError, "generator"),
        ({"a", "b"}, TypeError, "set"),
        ({"a": "b"}, TypeError, "dict"),
        (5, TypeError, "int"),
        (np.zeros(3), TypeError, "row 0 is 0.0"),
        (["a", "b \ud800 c"], ValueError, "no valid Unicode in row 1"),
    ],
)
def test_bad_texts(X, error, message):
    with pytest.raises(error, match=message):
        check_texts(X)


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([3, -1, 3], [-1, 3], [1, 0, 1]),
        ([True, False, True], [False, True], [1, 0, 1]),
        (np.array(["b", "a"]), ["a", "b"], [1, 0]),
        (np.array(["b", "a"], dtype=object), ["a", "b"], [1, 0]),
        (np.array([2.0, 1.0]), [1.0, 2.0], [1, 0]),
        (pd.Series(["b", "a"], dtype="category"), ["a", "b"], [1, 0]),
        (pd.Series([2, 1], dtype="Int64"), [1, 2], [1, 0]),
    ],
)
def test_label_types(y, classes, codes):
    found, found_codes = encode_labels(y)
    assert found.tolist() == classes
    assert type(found.tolist()[0]) is type(classes[0])
    assert_array_equal(found_codes, codes)


@pytest.mark.parametrize("y", [pd.DataFrame({"y": [2, 1]}), np.array([[2], [1]])])
def test_a_column_of_labels_is_taken_with_a_warning(y):
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        found, codes = encode_labels(y)
    assert found.tolist() == [1, 2]
    assert codes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "missing_label", "codes"),
    [
        ([0, -1, 1], -1, [0, -1, 1]),
        (["a", "", "b"], "", [0, -1, 1]),
        (["a", None, "b"], np.nan, [0, -1, 1]),
        (["a", float("nan"), "b"], np.nan, [0, -1, 1]),
        (np.array([0, np.nan, 1]), np.nan, [0, -1, 1]),
        (pd.Series([5, pd.NA, 6], dtype="Int64"), np.nan, [0, -1, 1]),
        (pd.Series(["a", None, "b"]), pd.NA, [0, -1, 1]),
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
        ([0, 1], None, ValueError, "X has 3 texts but y has 2 labels"),
        ([[0, 1]] * 3, None, TypeError, "row 0"),
        (np.zeros((3, 2)), None, ValueError, r"shape \(3, 2\)"),
        (["a", None, "b"], None, ValueError, r"row 1 .*missing_label=np.nan"),
        ([0.0, float("nan"), 1.0], -1, ValueError, "row 1"),
        (["a", 1, "b"], None, TypeError, r"row 1 is 1 \(int\), row 0 is 'a'"),
        ([0, True, 1], None, TypeError, "row 1 is True"),
        ([0.5, 1.5, 2.0], None, ValueError, "continuous"),
        (["a", "a", "a"], None, ValueError, "one class only, .*'a'"),
        ([-1, 1, 1], -1, ValueError, "1 rows equal missing_label=-1"),
        ([-1, -1, -1], -1, ValueError, "no label at all"),
    ],
)
def test_bad_labels(y, missing_label, error, message):
    with pytest.raises(error, match=message):
        encode_labels(y, missing_label=missing_label, n_samples=3)


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


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [
        ([1, 1], "inconsistent numbers of samples|sample_weight.shape"),
        ([1, -1, 1], "[Nn]egative"),
        ([1, np.nan, 1], "NaN"),
        ([1, 0, 1], r"labels of 1 class\(es\) only"),
    ],
)
def test_bad_weights(sample_weight, message):
    with pytest.raises(ValueError, match=message):
        make_targets(["a", "b", "a"], sample_weight)
