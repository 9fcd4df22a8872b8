"""From a spreadsheet with all flaws to verified labels and a service, in one sitting.

As somebody types it who knows nothing but the command line; what a user needs at each
step is asserted.
"""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdygen import load
from skdygen._cli import main
from skdygen.datasets import make_label_noise
from tests.conftest import make_word_texts
from tests.test_serving import ask, serve

N = 5000
# How a class is written, the usual way first; some are numbers.
SPELLINGS = {
    "animal": ["animal", "Animal", "ANIMAL ", "animal."],
    "fruit": ["fruit", "Fruit", " fruit", "fruit"],
    "tool": ["3", 3, 3.0, "3.0"],
}
CLASSES = ["3", "animal", "fruit", "plant"]
EMPTY, NO_TEXT, RARE = [700, 701, 2500], [900, 901], [11, 12]


def make_messy_table():
    """Make a table, and the right labels of its rows, None where there is none."""
    rng = np.random.RandomState(0)
    texts, right = make_word_texts(N, [*SPELLINGS])
    given = make_label_noise(right, "symmetric", 0.25, random_state=0)
    texts, right = np.array(texts, dtype=object), right.astype(object)
    copied = rng.choice(np.arange(3000, N), 60, replace=False)  # with labels of others
    texts[copied], right[copied] = texts[copied - 1500], right[copied - 1500]
    for i, odd in enumerate(("é ö 😀", "=1+1", "two\nlines", "  ")):
        texts[20 + i] += f" {odd}"
    labels = np.empty(N, dtype=object)
    for i, label in enumerate(given):
        labels[i] = SPELLINGS[label][rng.choice(4, p=[0.85, 0.05, 0.05, 0.05])]
    labels[rng.choice(np.arange(1000, 2000), 150)] = "N/A"
    labels[rng.choice(np.arange(1000, 2000), 50)] = "unknown"
    labels[RARE] = right[RARE] = "plant"
    texts[NO_TEXT] = None
    right = pd.Series(right).replace("tool", "3")
    right[[*EMPTY, *NO_TEXT]] = None
    columns = {"Ticket": [f"T-{i:05d}" for i in range(N)], "Body": texts}
    columns |= {"Team": labels, "Amount": rng.rand(N).round(2), "note": "a"}
    table = pd.DataFrame(columns).assign(again=rng.rand(N) < 0.5).astype(object)
    table.loc[EMPTY] = None
    return table, right


@pytest.mark.long
def test_from_a_messy_spreadsheet_to_a_service(tiny_model, tmp_path, capsys):
    table, right = make_messy_table()
    path, fit, model = (tmp_path / n for n in ("t.xlsx", "fit.skops", "model.skops"))
    table.to_excel(path, index=False, header=[*table.columns[:-1], "note"])
    columns = ["--text", "Body", "--label", "Team"]

    def run(*arguments):
        """Run a command, and give what it says by name."""
        assert main(list(map(str, arguments))) == 0
        lines = capsys.readouterr().out.splitlines()
        return {line[:26].strip(): line[26:] for line in lines}

    def read(name):
        return pd.read_excel(tmp_path / name, dtype=object, na_filter=False)

    # What is odd is named before anything is trained.
    said = run("inspect", path, "--text", "Body", "--label", "Ticket")
    assert "4,997 classes in 4,997 labels, as ids" in said["column of labels"]
    said = run("inspect", path, *columns)
    assert said["rows"] == "5,000 (3 without a label, 5 without text)"
    for name, beginning in {
        "classes written alike": "10, of what may be 3", "labels like none": "1",
        "labels of two types": "1 of 13", "rare classes": "1 of 13",
        "texts with other labels": "", "empty rows": "3", "labels without text": "2",
        "columns of one name": "1",
    }.items():  # fmt: skip
        assert said[name].startswith(beginning), name

    # Nobody's help, and labels are better; every row is there, and as it was.
    merging = ["--normalize-labels", "--missing-label=N/A", "--missing-label=unknown"]
    training = ["--fast", "--model", tiny_model, "--epochs", 3]
    report = ["--id", "Ticket", "--report", tmp_path / "report.html"]
    command = ["clean", path, *columns, *merging]
    said = run(*command, *training, *report, "--fit-out", fit)
    assert said["classes"].startswith("4: ")
    assert "'Animal' " in said["labels merged"]
    assert '"T-00' in report[-1].read_text(encoding="utf-8")
    cleaned = read("t.cleaned.xlsx")
    own = cleaned.iloc[:, : table.shape[1]].set_axis(table.columns, axis=1)
    pd.testing.assert_frame_equal(own, table.fillna(""), check_dtype=False)
    corrected = cleaned["label_corrected"]
    assert {*corrected} <= {*CLASSES}
    is_known = right.notna()
    given = table["Team"].astype(str).str.strip(" .").str.lower().replace("3.0", "3")
    n_given, n_corrected = ((x == right)[is_known].sum() for x in (given, corrected))
    assert n_corrected > n_given + 0.1 * N

    # A hundred labels are checked in a spreadsheet; nothing is trained again.
    run("check", path, *columns, *merging, "--refit", fit, "--n", 100)
    checked = read("t.check.xlsx")
    checked["verified"] = right[checked["row"]].tolist()
    checked.to_excel(tmp_path / "t.check.xlsx", index=False)
    command += ["--refit", fit, "--verified", tmp_path / "t.check.xlsx", "--force"]
    said = run(*command, *report, "--model-out", model)
    low, high = load(model).noise_rate_interval_
    wrong = (given != right)[is_known & given.isin(CLASSES)].mean()
    assert low < wrong < high < low + 0.3
    assert f"(95% interval: {low:.1%} to {high:.1%})" in said["labels estimated wrong"]
    cleaned = read("t.cleaned.xlsx")
    corrected = cleaned["label_corrected"]
    rows = checked["row"][checked["verified"].notna()]
    assert_array_equal(corrected[rows], right[rows])
    assert (corrected == right)[is_known].sum() >= n_corrected
    accepted = cleaned["is_accepted"].astype(bool) & is_known
    assert accepted.sum() > N / 2
    assert (corrected != right)[accepted].sum() < 0.05 * N
    run(*command, "--only-issues", "--sort", "--out", tmp_path / "issues.xlsx")
    issues = read("issues.xlsx")
    original = table["Ticket"][issues["spreadsheet_row"].astype(int) - 2].fillna("")
    assert_array_equal(issues["Ticket"], original)

    # The model answers the same on the command line and as a service.
    texts, classes = make_word_texts(60, [*SPELLINGS], seed=1)
    new = tmp_path / "new.csv"
    pd.DataFrame({"Body": texts}).to_csv(new, index=False)
    run("predict", model, new)
    predicted = pd.read_csv(tmp_path / "new.predicted.csv", dtype={0: str, 1: str})
    with serve(model, CLASSES) as address:
        answers = ask(f"{address}/classify", texts=texts)
    labels = [answer["label"] for answer in answers]
    assert labels == predicted["label_predicted"].tolist()
    confidence = [answer["probability"] for answer in answers]
    assert_allclose(confidence, predicted["confidence"], atol=6e-4)
    assert np.mean(labels == np.where(classes == "tool", "3", classes)) > 0.9
