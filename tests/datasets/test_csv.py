import numpy as np
import pandas as pd
import pytest

from skdygen.datasets import load_noisy_csv


def test_numbers_and_missing_labels(tmp_path):
    path = tmp_path / "data.csv.gz"
    pd.DataFrame(
        {
            "text": ["a", "NA", "null, really", ""],
            "label_gold": [0, 1, 2, 0],
            "label_noisy": ["0", "", "2", "1"],
        }
    ).to_csv(path, index=False)
    data = load_noisy_csv(path, gold="label_gold")
    assert data.data == ["a", "NA", "null, really", ""]
    assert data.gold.tolist() == [0, 1, 2, 0]
    assert data.gold.dtype.kind == "i"
    assert data.target[[0, 2, 3]].tolist() == [0, 2, 1]
    assert pd.isna(data.target[1])
    assert load_noisy_csv(path).gold is None


def test_strings(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("body,tag\nhello,greeting\nbye,NA\nwell,\n")
    data = load_noisy_csv(path, text="body", given="tag")
    assert data.target[:2].tolist() == ["greeting", "NA"]
    assert pd.isna(data.target[2])


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("01 1 2", ["01", "1", "2"]),
        ("nan 1 2", ["nan", "1", "2"]),
        ("1.0 1 2", ["1.0", "1", "2"]),
        ("1e3 1000 1", ["1e3", "1000", "1"]),
        ("1.0 2.0 -3.0", [1.0, 2.0, -3.0]),
        (f"{2**53} {2**53 + 1} ,", [2**53, 2**53 + 1, np.nan]),
        (f"{10**30} 1 ,", [str(10**30), "1", np.nan]),
    ],
)
def test_labels_that_are_written_differently_differ(written, labels, tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"text,{label.strip(',')}" for label in written.split(" ")]
    path.write_text("\n".join(["text,label_noisy", *rows]))
    found = load_noisy_csv(path).target.tolist()
    assert list(map(str, found)) == list(map(str, labels))
    assert list(map(type, found)) == list(map(type, labels))


def test_commas_at_the_end_of_rows(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label_noisy\n007,a,,\nb,2\n")
    data = load_noisy_csv(path)
    assert data.data == ["007", "b"]
    assert data.target.tolist() == ["a", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label_noisy\nwell, yes,a\nwell, no,b\n", "the cell 'a' has no column"),
        (b"text,label_noisy\nyes,a\nwell, no,b\n", "Expected 2 fields in line 3"),
        (b"text,label_noisy\n\xe9,a\n", "can't decode byte 0xe9"),
        (b"", "No columns to parse"),
    ],
)
def test_what_is_no_table(content, message, tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"data\.csv is no table .*{message}"):
        load_noisy_csv(path)


def test_errors(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,b\n")
    with pytest.raises(ValueError, match=r"given='label_noisy' is no column .*'label'"):
        load_noisy_csv(path)
    path.write_text("text,label_noisy\n")
    with pytest.raises(ValueError, match="no rows"):
        load_noisy_csv(path)
