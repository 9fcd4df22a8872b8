"""The command line, as it is typed."""

import csv
import gzip
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from skdygen import DyGenClassifier, inspection
from skdygen._cli import main
from skdygen._cli._tables import SUFFIXES, read_table, write_table
from skdygen.dynamics import LanguageModelDynamics
from tests.conftest import make_word_texts

NEW = ["label_suggested", "label_quality", "is_issue", "label_corrected"]
TRAINING = ["--epochs", "2", "--fast", "--device", "cpu"]


@pytest.fixture(scope="session")
def table(word_texts):
    """Make a table with cells that are easily changed by mistake."""
    texts, _, noisy = word_texts
    n = len(texts)
    odd = ["", "NA", "nan", " a ", 'say "hi"', "a,b\tc", "two\r\nlines", "a\rb", "é€😀"]
    return pd.DataFrame(
        {
            "id": [f"{i:05d}" for i in range(n)],
            "": [odd[i % len(odd)] for i in range(n)],
            "Body": texts,
            "amount": ["1.10"] * n,
            "TAG": [str(label) for label in noisy],
        }
    )


@pytest.fixture
def tickets(table, tmp_path):
    """Write the table as CSV, and give its path."""
    path = tmp_path / "tickets.csv"
    write_strings(table, path)
    return path


@pytest.fixture(scope="session")
def cleaned(table, tiny_model, tmp_path_factory):
    """Give a folder in which tickets.csv has been cleaned, its model kept."""
    folder = tmp_path_factory.mktemp("cleaned")
    write_strings(table, folder / "tickets.csv")
    arguments = ["clean", folder / "tickets.csv", "--model", tiny_model, *TRAINING]
    assert run(*arguments, "--model-out", folder / "model", "--quiet") == 0
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def fail(capsys, *arguments):
    """Run a command that has to fail, and give the line that says why."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("skdygen: error: ")
    assert err.count("\n") == 1
    return err


def write_csv(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def write_strings(frame, path):
    frame.to_csv(path, index=False, quoting=csv.QUOTE_ALL)


def read_strings(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# Tables


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_come_back_as_they_were(table, suffix, tmp_path):
    path = tmp_path / f"table{suffix}"
    write_table(table, path)
    found = read_table(path)
    assert found.columns.tolist() == table.columns.tolist()
    assert found.to_numpy().tolist() == table.to_numpy().tolist()
    assert names_in(tmp_path) == [path.name]
    if suffix.endswith(".gz"):
        assert gzip.decompress(path.read_bytes())


def test_csv_cells_are_left_alone(tmp_path):
    path, again = tmp_path / "a.csv", tmp_path / "b.csv"
    content = 'a,,a,"b c"\n007,NA,"x\r\ny",1e3\n-0.0,,"q""q",True\n'
    path.write_bytes(content.encode("utf-8-sig"))
    table = read_table(path)
    assert table.columns.tolist() == ["a", "", "a", "b c"]
    write_table(table, again)
    assert again.read_bytes().decode() == content.replace('"b c"', "b c")


def test_csv_may_be_separated_by_semicolons(tickets, tiny_model, tmp_path):
    path, again = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text('text;label\na, b;1,5\n"c;d";x\n')
    table = read_table(path)
    assert table.to_numpy().tolist() == [["a, b", "1,5"], ["c;d", "x"]]
    write_table(table, again)
    assert again.read_text() == path.read_text()
    write_table(table, tmp_path / "c.tsv")
    assert "a, b\t1,5" in (tmp_path / "c.tsv").read_text()
    # A comma in the first line makes it the separator.
    path.write_text("text,a;b\nc;d,e\n")
    assert read_table(path).columns.tolist() == ["text", "a;b"]
    # From one command to the other.
    read_strings(tickets).to_csv(path, sep=";", index=False)
    arguments = ["--out", again, "--model", tiny_model, *TRAINING, "--force", "--quiet"]
    assert run("clean", path, *arguments) == 0
    assert read_table(again).columns.tolist()[-4:] == NEW
    assert again.read_text().count(";") >= 6 * len(read_table(again))


def test_rows_that_end_early_have_empty_cells(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\na\n\nb,c\n")
    assert read_table(path).to_numpy().tolist() == [["a", ""], ["b", "c"]]
    # In a single column, a blank line is a row with an empty cell.
    path.write_text("text\na\n\n  \nb\n")
    assert read_table(path).to_numpy().tolist() == [["a"], [""], ["  "], ["b"]]


def test_json_keeps_its_types(tmp_path):
    path, again = tmp_path / "a.jsonl", tmp_path / "b.ndjson"
    rows = [
        {
            "id": 2**60 + 1,
            "x": 1.5,
            "text": "é",
            "flag": True,
            "list": [1, {"a": None}],
        },
        {"id": None, "text": "\ud800", "label": 0},
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    write_table(read_table(path), again)
    assert [json.loads(line) for line in again.read_text().splitlines()] == rows
    assert "é" in again.read_text(encoding="utf-8")


def test_parquet_keeps_its_types(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path, again = tmp_path / "a.parquet", tmp_path / "b.parquet"
    given = pa.table(
        {
            "id": pa.array([2**60 + 1, None], pa.int64()),
            "when": pa.array([0, None], pa.timestamp("s")),
            "list": [[1, 2], None],
            "text": ["a", None],
        }
    )
    parquet.write_table(given, path)
    write_table(read_table(path), again)
    found = parquet.read_table(again)
    assert found.to_pydict() == given.to_pydict()
    assert found.schema.field("id").type == pa.int64()


# clean


def test_clean_gives_what_the_classifier_says(cleaned, table, tiny_model):
    found = read_strings(cleaned / "tickets.cleaned.csv")
    assert_frame_equal(
        read_table(cleaned / "tickets.cleaned.csv")[table.columns],
        read_table(cleaned / "tickets.csv"),
    )
    assert found.columns.tolist()[-4:] == NEW
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=2, trainable_layers=0, device="cpu"
    )
    clf = DyGenClassifier(dynamics, random_state=0)
    clf.fit(table["Body"], table["TAG"])
    given = (table["TAG"].to_numpy()[:, None] == clf.classes_).argmax(axis=1)
    suggested = clf.label_distributions_.argmax(axis=1)
    assert_array_equal(found["label_suggested"], clf.classes_[suggested])
    assert_array_equal(found["label_corrected"], clf.transduction_)
    quality = clf.label_distributions_[np.arange(len(given)), given]
    assert_allclose(found["label_quality"].astype(float), quality, rtol=1e-12)
    assert_array_equal(found["is_issue"], np.where(suggested != given, "True", "False"))
    assert 0 < (suggested != given).sum() < len(given)


def test_summary(tickets, tiny_model, tmp_path, capsys):
    frame = read_strings(tickets)
    frame.loc[[3, 4, 5], "TAG"] = ["", "none", ""]
    frame.loc[7, "Body"] = ""
    write_strings(frame, tickets)
    model = tmp_path / "model"
    code = run(
        "clean", tickets, "--model", tiny_model, *TRAINING, "--model-out", model,
        "--missing-label", "none",
    )  # fmt: skip
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tickets}: texts in 'Body', labels in 'TAG'"
    said = {line[:24].strip(): line[24:] for line in lines[1:]}
    assert 8 <= len(said) <= 12
    found = read_strings(tmp_path / "tickets.cleaned.csv")
    is_issue = found["is_issue"] == "True"
    labelled = ~found["TAG"].isin(["", "none"])
    changed = labelled & (found["label_corrected"] != found["TAG"])
    assert said["rows"] == "120 (3 without a label, 1 with an empty text)"
    assert said["classes"].startswith("2: ")
    assert said["labels that look wrong"] == f"{is_issue.sum()} of 117"
    assert said["labels estimated wrong"] == f"{is_issue.sum() / 117:.1%}"
    assert said["labels corrected"] == str(changed.sum())
    doubts = is_issue.groupby(found["TAG"]).mean()[["animal", "fruit"]].max()
    assert f" {doubts:.0%}" in said["most doubtful classes"]
    pairs = found[is_issue].groupby(["TAG", "label_suggested"]).size()
    assert said["most frequent mistake"].endswith(f": {pairs.max()} texts")
    assert said["table"] == str(tmp_path / "tickets.cleaned.csv")
    assert said["model"] == str(model)
    assert "time" in said
    # Rows without a label: a suggestion, no quality, no issue.
    assert_array_equal(found["TAG"][3:6], ["", "none", ""])
    assert (found["label_quality"] == "").tolist() == (~labelled).tolist()
    assert found["label_suggested"].isin(["animal", "fruit"]).all()
    assert not is_issue[~labelled].any()


def test_numbers_and_gaps_of_parquet(word_texts, tiny_model, tmp_path):
    texts, labels, _ = word_texts
    codes = pd.array((labels == "fruit").astype(int), dtype="Int64")
    codes[:2] = None
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": texts, "y": codes, "n": 1}).to_parquet(path)
    out = tmp_path / "b.jsonl.gz"
    code = run("clean", path, "--out", out, "--model", tiny_model, *TRAINING, "--quiet")
    assert code == 0
    with gzip.open(out, "rt") as file:
        rows = [json.loads(line) for line in file]
    assert rows[0].keys() == {"text", "y", "n", *NEW}
    assert (rows[0]["y"], rows[0]["label_quality"], rows[0]["is_issue"]) == (
        None, None, False,
    )  # fmt: skip
    assert {row["label_suggested"] for row in rows} <= {0, 1}
    assert isinstance(rows[5]["label_quality"], float)


def test_whole_of_the_model_is_trained_unless_it_is_to_be_fast(
    tickets, tiny_model, tmp_path
):
    model = tmp_path / "model"
    arguments = ["--epochs", "1", "--device", "cpu", "--seed", "5", "--quiet"]
    arguments += ["--model", tiny_model, "--model-out", model]
    assert run("clean", tickets, *arguments) == 0
    clf = DyGenClassifier.load(model)
    assert (clf.dynamics.trainable_layers, clf.dynamics.n_epochs) == (3, 1)
    assert clf.random_state == 5


def test_dry_run(tickets, tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    before = names_in(tmp_path)
    code = run(
        "clean", tickets, "--model", tiny_model, "--fast", "--dry-run",
        "--model-out", tmp_path / "model",
    )  # fmt: skip
    assert code == 0
    assert names_in(tmp_path) == before
    said = capsys.readouterr().out
    counts = read_strings(tickets)["TAG"].value_counts()
    for word in (
        "120", "'Body'", "'TAG'", f"animal {counts['animal']}", "frozen",
        tiny_model, tmp_path / "tickets.cleaned.csv", tmp_path / "model",
    ):  # fmt: skip
        assert str(word) in said


def test_quiet_is_silent(tickets, tiny_model, capfd):
    assert run("clean", tickets, "--model", tiny_model, *TRAINING, "--quiet") == 0
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_stderr(tickets, tiny_model, tmp_path, capfd):
    model = tmp_path / "model"
    arguments = ["--model", tiny_model, *TRAINING, "--model-out", model]
    assert run("clean", tickets, *arguments) == 0
    out, err = capfd.readouterr()
    assert "fine-tuning" in err
    assert "fine-tuning" not in out
    # The model that was kept shows none when it is used in Python.
    clf = DyGenClassifier.load(model)
    clf.predict(["a text"])
    clf.fit(["a cat", "a dog", "an apple", "a plum"] * 2, [0, 0, 1, 1] * 2)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_replaced_without_force(tickets, tiny_model, tmp_path, capsys):
    out, model = tmp_path / "tickets.cleaned.csv", tmp_path / "model"
    command = ["clean", tickets, "--model", tiny_model, *TRAINING, "--quiet"]
    command += ["--model-out", model]
    out.write_text("mine")
    assert f"{out} exists; pass --force" in fail(capsys, *command)
    assert out.read_text() == "mine"
    assert not model.exists()
    assert run(*command, "--force") == 0
    assert out.read_text() != "mine"
    out.unlink()
    assert f"{model} exists; pass --force" in fail(capsys, *command)
    assert run(*command, "--force") == 0
    # Other folders are never replaced.
    other = tmp_path / "other"
    other.mkdir()
    command[-1] = other
    (other / "model.json").write_text('{"name": "mine"}')
    assert "is no saved model" in fail(capsys, *command, "--force")
    (tmp_path / "parts.csv").mkdir()  # as Spark writes tables
    command[-2:] = ["--out", tmp_path / "parts.csv"]
    assert "parts.csv is a folder; choose another name" in fail(
        capsys, *command, "--force"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "{0}/none/a.csv"], "there is no folder {0}/none; make it first"),
        (["--out", "{0}/a.xlsx"], "a.xlsx is no table by its name; use one that ends"),
        (["--out", "{0}/.csv"], ".csv is no table by its name"),
        (["--out", "{0}/tickets.csv", "--force"], "tickets.csv is read or written"),
        (["--out", "{0}/a.csv", "--model-out", "{0}/a.csv"], "read or written already"),
        (["--report", "{0}/a.pdf"], "a.pdf: the report is HTML"),
        (["--model-out", "{0}/none/model"], "there is no folder {0}/none"),
        (
            ["--text", "bdy"],
            "--text 'bdy' is no column of {0}/tickets.csv; it has 'id'",
        ),
        (["--label", "tag"], "--label 'tag' is no column of {0}/tickets.csv; it has"),
        (["--text", "TAG"], "--text and --label are both 'TAG'"),
        (["--model", "{0}/none"], "neither a folder nor"),
        (["--device", "gpu"], "--device gpu cannot be used"),
    ],
)
def test_all_is_checked_before_the_training(
    tickets, tmp_path, arguments, message, capsys, monkeypatch
):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    arguments = [argument.format(tmp_path) for argument in arguments]
    before = names_in(tmp_path)
    assert message.format(tmp_path) in fail(capsys, "clean", tickets, *arguments)
    assert names_in(tmp_path) == before


def compressed(content):
    """`content` by gzip, without the time: a test's name must not hold the time."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", None, "a.csv is no file"),
        ("a.txt", b"text,label\n", "a.txt is no table by its name"),
        ("a.csv", b"", "a.csv has no rows"),
        ("a.csv", b"text,label\n", "a.csv has no rows"),
        ("a.jsonl", b"\n", "a.jsonl has no rows"),
        ("a.csv", b"text,label\na,b\n\xe9t\xe9,b\n", "UTF-8: line 3 has the byte 0xe9"),
        ("a.jsonl", b'{"text": "\xe9"}', "not encoded in UTF-8: line 1 has the byte"),
        ("a.csv.gz", compressed(b"a\n\xff"), "not encoded in UTF-8: line 2 has"),
        ("a.csv", b"text,label\na,b\na,b,c\n", "Expected 2 fields in line 3, saw 3"),
        ("a.csv.gz", b"text,label\n", "a.csv.gz cannot be read"),
        ("a.csv.gz", compressed(b"text,label\n" * 9)[:-9], "gz cannot be read"),
        ("a.parquet", b"text,label\n", "a.parquet cannot be read"),
        ("a.jsonl", b'{"text": "a"}\n{"text"', "a.jsonl cannot be read: line 2: "),
        ("a.jsonl", b"[1]\n", "line 1: it is no JSON object"),
        ("a.csv", b"text,tag,CLASS\na,b,c\n", "may hold labels, 'tag', 'CLASS'; name"),
        ("a.csv", b"text,kind\na,b\n", "is named label, labels, class"),
        ("a.csv", b"id,label\n1,b\n", "seems to hold texts; name one with --text"),
        ("a.csv", b"text,text,y\na,b,c\n", "'text' stands 2 times in"),
        ("a.csv", b"text,y,is_issue\na,b,c\n", "already has a column 'is_issue'"),
        ("a.csv", b"text,y\na,b\nc,b\n", "column 'y' has one class only, 'b'"),
        ("a.csv", b"text,y\na,\nc,\n", "column 'y' has no label at all"),
        ("a.jsonl", b'{"text": "a", "y": 1}\n{"text": 2, "y": 0}', "but row 2 is 2"),
        ("a.jsonl", b'{"text": "\\ud800", "y": 1}', "no valid Unicode in row 1"),
        (
            "a.jsonl",
            b'{"text": "a", "y": 1}\n{"text": "b", "y": "0"}',
            "mixes types",
        ),
    ],
)
def test_errors_of_tables(tmp_path, name, content, message, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said = fail(capsys, "clean", tmp_path / name, "--dry-run")
    assert message in said
    assert str(tmp_path / name) in said or "olumn" in said


def test_what_another_kind_of_file_cannot_hold(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,y,n,n\na,b,1,2\nc,d,3,4\n")
    said = fail(capsys, "clean", path, "--out", tmp_path / "b.jsonl", "--dry-run")
    assert "cannot hold two columns 'n'" in said
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "y": 1, "z": 1}\n{"text": "b", "y": 2, "z": "a"}')
    said = fail(capsys, "clean", path, "--out", tmp_path / "b.parquet", "--dry-run")
    assert "b.parquet cannot hold the table" in said


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"y": "ab", "body": "cd", "long": ["x" * 9] * 2}, "body", "y"),
        ({"Title": "ab", "Body": "cd", "Category": "ef"}, "Body", "Category"),
        (
            {"Label": "ab", "a": ["1" * 9] * 2, "b": ["xx", ""], "c": ["zz", "z"]},
            "c",
            "Label",
        ),
    ],
)
def test_choice_of_columns(tmp_path, tiny_model, columns, text, label, capsys):
    path = write_csv(tmp_path / "a.csv", **{k: list(v) for k, v in columns.items()})
    assert run("clean", path, "--model", tiny_model, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"column {text!r} of" in said
    assert f"column {label!r}\n" in said


def test_errors_of_a_fit_are_one_line(tickets, tiny_model, capsys, monkeypatch):
    def fit(self, X, y):
        raise ValueError("temp_folder is full;\n  empty it.")

    monkeypatch.setattr(DyGenClassifier, "fit", fit)
    command = ["clean", tickets, "--model", tiny_model, "--quiet"]
    said = fail(capsys, *command)
    assert said == "skdygen: error: temp_folder is full; empty it.\n"
    with pytest.raises(Exception, match="temp_folder is full") as info:
        run(*command, "--debug")
    assert isinstance(info.value.__cause__, ValueError)
    monkeypatch.setattr(DyGenClassifier, "fit", lambda self, X, y: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        run(*command)


def test_ctrl_c(tickets, tiny_model, tmp_path, capsys, monkeypatch):
    def fit(self, X, y):
        raise KeyboardInterrupt

    monkeypatch.setattr(DyGenClassifier, "fit", fit)
    before = names_in(tmp_path)
    assert run("clean", tickets, "--model", tiny_model) == 130
    assert capsys.readouterr().err.strip() == "skdygen: interrupted"
    assert names_in(tmp_path) == before


def test_what_can_be_written_is_not_lost(
    tickets, tiny_model, tmp_path, capsys, monkeypatch
):
    def to_csv(self, *args, **kwargs):
        raise OSError("the disk is full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", to_csv)
    model = tmp_path / "model"
    command = ["clean", tickets, "--model", tiny_model, *TRAINING, "--quiet"]
    said = fail(capsys, *command, "--model-out", model)
    assert "tickets.cleaned.csv was not written: the disk is full" in said
    assert DyGenClassifier.load(model).predict(["a cat"]).shape == (1,)
    assert names_in(tmp_path) == ["model", "tickets.csv"]


# predict


def test_predict(cleaned, tmp_path, capsys):
    texts, _ = make_word_texts(30, seed=1)
    path = write_csv(tmp_path / "new.csv", n=["01"] * 31, message=[*texts, ""])
    command = ["predict", cleaned / "model", path, "--text", "message"]
    assert run(*command, "--device", "cpu") == 0
    found = read_strings(tmp_path / "new.predicted.csv")
    assert found.columns.tolist() == ["n", "message", "label_predicted", "confidence"]
    assert_array_equal(found["n"], "01")
    clf = DyGenClassifier.load(cleaned / "model")
    assert_array_equal(found["label_predicted"], clf.predict([*texts, ""]))
    expected = clf.predict_proba([*texts, ""]).max(axis=1)
    assert_allclose(found["confidence"].astype(float), expected, rtol=1e-12)
    assert "31 texts of column 'message'" in capsys.readouterr().out
    assert "exists; pass --force" in fail(capsys, *command)
    assert run(*command, "--force", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    other = ["predict", cleaned / "none", path, "--force"]
    assert "none does not exist" in fail(capsys, *other)
    command[2] = tmp_path / "new.predicted.csv"
    assert "already has a column 'label_predicted'" in fail(capsys, *command)


def test_columns_are_those_of_the_fit(table, tiny_model, tmp_path, capsys, monkeypatch):
    # The names that are guessed, text and label, are those of other columns here.
    renamed = {"Body": "subject", "TAG": "team"}
    frame = table.rename(columns=renamed).assign(text="a cat", label="x")
    path, model = tmp_path / "a.csv", tmp_path / "model"
    write_strings(frame, path)
    command = ["clean", path, "--text", "subject", "--label", "team", "--quiet"]
    command += ["--model", tiny_model, *TRAINING, "--model-out", model]
    assert run(*command) == 0
    assert run("predict", model, path) == 0
    assert "texts of column 'subject'" in capsys.readouterr().out
    found = read_strings(tmp_path / "a.predicted.csv")["label_predicted"]
    expected = DyGenClassifier.load(model).predict(frame["subject"])
    assert_array_equal(found, expected)
    monkeypatch.setattr(inspection, "write_report", lambda *args, **kwargs: None)
    assert run("report", model, path, "--out", tmp_path / "report.html") == 0
    assert "texts of column 'subject'" in capsys.readouterr().out
    write_strings(frame.drop(columns="subject"), path)
    said = fail(capsys, "predict", model, path, "--force")
    assert "has no column 'subject', on which the model was fitted" in said
    (model / "columns.json").write_text("[]")
    assert "columns.json is damaged" in fail(capsys, "predict", model, path, "--force")
    # A model that was saved by hand names no columns.
    (model / "columns.json").unlink()
    assert run("predict", model, path, "--force") == 0
    assert "texts of column 'text'" in capsys.readouterr().out


def test_predict_with_other_models(cleaned, tmp_path, capsys):
    DyGenClassifier().save(tmp_path / "unfitted")
    said = fail(capsys, "predict", tmp_path / "unfitted", cleaned / "tickets.csv")
    assert "holds a classifier that is not fitted" in said
    LanguageModelDynamics().save(tmp_path / "stage")
    said = fail(capsys, "predict", tmp_path / "stage", cleaned / "tickets.csv")
    assert "holds a LanguageModelDynamics, not a DyGenClassifier" in said


# report


def test_report(cleaned, tmp_path, tickets, tiny_model, capfd):
    out = tmp_path / "report.html"
    command = ["report", cleaned / "model", cleaned / "tickets.csv", "--out", out]
    assert run(*command, "--quiet") == 0
    assert capfd.readouterr() == ("", "")
    content = out.read_text(encoding="utf-8")
    assert "<html" in content
    expected = tmp_path / "expected.html"
    clf = DyGenClassifier.load(cleaned / "model")
    texts = read_strings(cleaned / "tickets.csv")["Body"].tolist()
    inspection.write_report(clf, expected, texts)
    assert content == expected.read_text(encoding="utf-8")
    # With clean, the same comes out.
    report = tmp_path / "with_clean.html"
    clean = ["clean", tickets, "--model", tiny_model, *TRAINING, "--report", report]
    assert run(*clean) == 0
    assert "<html" in report.read_text(encoding="utf-8")


def test_report_is_called(cleaned, tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(
        inspection, "write_report", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    out = tmp_path / "report.html"
    table = cleaned / "tickets.csv"
    assert run("report", cleaned / "model", table, "--out", out, "--force") == 0
    (clf, path, texts), params = calls[0]
    assert isinstance(clf, DyGenClassifier)
    assert path == out
    assert texts == read_strings(table)["Body"].tolist()
    assert params == {"overwrite": True}
    assert "120 texts of column 'Body'" in capsys.readouterr().out


def test_report_on_another_table(cleaned, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inspection, "write_report", None)
    frame = read_strings(cleaned / "tickets.csv")
    path, end = tmp_path / "a.csv", ["--out", tmp_path / "report.html"]
    write_strings(frame.iloc[1:], path)
    said = fail(capsys, "report", cleaned / "model", path, *end)
    assert "has 119 rows, but" in said
    assert "was fitted on 120" in said
    right = frame.loc[4, "TAG"]
    frame.loc[4, "TAG"] = wrong = {"animal": "fruit", "fruit": "animal"}[right]
    write_strings(frame, path)
    said = fail(capsys, "report", cleaned / "model", path, *end)
    assert f"Row 5 of {path} has the label {wrong!r}" in said
    assert f"was fitted with {right!r} there" in said
    # Labels of another kind are not those that it was fitted on.
    other = frame.drop(columns="TAG").assign(category="urgent")
    write_strings(other, path)
    called = []
    monkeypatch.setattr(inspection, "write_report", lambda *args, **_: called.append(1))
    assert run("report", cleaned / "model", path, *end, "--quiet") == 0
    assert called


# The whole


def test_end_to_end_in_a_process_of_its_own(tickets, tiny_model, tmp_path):
    command = [
        sys.executable, "-m", "skdygen", "clean", tickets, "--text", "Body",
        "--label", "TAG", "--out", tmp_path / "out.tsv", "--model", tiny_model,
        *TRAINING,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "labels that look wrong" in done.stdout
    assert "fine-tuning" in done.stderr
    assert "Traceback" not in done.stderr
    assert read_table(tmp_path / "out.tsv").columns[-4:].tolist() == NEW
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith(f"skdygen: error: {tmp_path / 'out.tsv'} exists")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["wash"],
        ["clean"],
        ["clean", "a.csv", "--epochs", "0"],
        ["clean", "a.csv", "--seed", "one"],
        ["report", "model", "a.csv"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    assert "usage: skdygen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["exit codes", "130", "parquet", "UTF-8", "predict", "examples"]),
        (["clean"], ["label_suggested", "is_issue", "--dry-run", "--force", "--fast"]),
        (["predict"], ["label_predicted", "confidence"]),
        (["report"], ["--out"]),
    ],
)
def test_help(command, words, capsys):
    with pytest.raises(SystemExit) as info:
        main([*command, "--help"])
    assert info.value.code == 0
    said = capsys.readouterr().out
    assert all(word in said for word in words)


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from skdygen._cli import main\n"
        "try: main(['clean', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True
    )
    assert done.returncode == 0
