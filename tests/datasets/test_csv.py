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
    np.testing.assert_array_equal(data.target, [0, np.nan, 2, 1])
    assert load_noisy_csv(path).gold is None


def test_strings(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("body,tag\nhello,greeting\nbye,NA\nwell,\n")
    data = load_noisy_csv(path, text="body", given="tag")
    assert data.target[:2].tolist() == ["greeting", "NA"]
    assert pd.isna(data.target[2])


def test_errors(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,b\n")
    with pytest.raises(ValueError, match=r"given='label_noisy' is no column .*'label'"):
        load_noisy_csv(path)
    path.write_text("text,label_noisy\n")
    with pytest.raises(ValueError, match="no rows"):
        load_noisy_csv(path)
