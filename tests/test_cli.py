"""The command line, as it is typed."""

import csv
import datetime
import gzip
import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdygen import DyGenClassifier, inspection
from skdygen._cli import _commands, _tables, main
from skdygen._cli._tables import SUFFIXES, read_table, write_table
from skdygen._storage import load_estimator, save_estimator
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from tests.conftest import make_word_texts

NEW = ["label_suggested", "label_quality", "is_issue", "label_corrected"]


@pytest.fixture(scope="session")
def table(word_texts):
    """Make a table with cells that are easily changed by mistake."""
    texts, _, noisy = word_texts
    odd = ["", "NA", "nan", " a ", 'say "hi"', "a,b\tc", "a\r\nb", "a\rb", "é€😀", "=1"]
    columns = {
        "id": [f"{i:05d}" for i in range(len(texts))],
        "": odd * (len(texts) // len(odd)),
        "Body": texts,
        "amount": ["1.10"] * len(texts),
        "TAG": [str(label) for label in noisy],
    }
    return pd.DataFrame(columns)


@pytest.fixture
def tickets(table, tmp_path):
    """Write the table as CSV, and give its path."""
    return write_strings(table, tmp_path / "tickets.csv")


def make_quick(options):
    """Make a classifier that is fitted in no time."""
    return DyGenClassifier(
        IncrementalDynamics(n_epochs=10),
        denoiser=DirichletVAE(n_epochs=2),
        missing_label=np.nan,
        random_state=options.seed,
        verbose=int(not options.quiet),
    )


@pytest.fixture
def quick(monkeypatch):
    """Have commands fit in no time."""
    monkeypatch.setattr(_commands, "_make_classifier", make_quick)


@pytest.fixture(scope="session")
def cleaned(table, tmp_path_factory):
    """Give a folder in which tickets.csv has been cleaned, its model kept."""
    folder = tmp_path_factory.mktemp("cleaned")
    tickets = write_strings(table, folder / "tickets.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_commands, "_make_classifier", make_quick)
        command = ["clean", tickets, "--model-out", folder / "model.skops", "--quiet"]
        assert run(*command) == 0
    return folder


@pytest.fixture
def reports(monkeypatch):
    """Give the arguments with which a report would have been written."""
    calls = []
    monkeypatch.setattr(
        inspection, "write_report", lambda *a, **p: calls.append((a, p))
    )
    return calls


def run(*arguments):
    return main([str(argument) for argument in arguments])


def fail(capsys, *arguments):
    """Run a command that has to fail, and give the line that says why."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("skdygen: error: ")
    return err


def write_strings(frame, path):
    frame.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    return path


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
    if suffix == ".xlsx":  # a cell is empty or not, and has no carriage returns
        table = table.replace({"": None}).replace("\r\n?", "\n", regex=True)
    assert found.columns.tolist() == table.columns.tolist()
    assert found.to_numpy().tolist() == table.to_numpy().tolist()
    assert names_in(tmp_path) == [path.name]
    assert not suffix.endswith(".gz") or gzip.decompress(path.read_bytes())
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_csv_cells_are_left_alone(tmp_path):
    path, again = tmp_path / "a.csv", tmp_path / "b.csv"
    content = 'a,,a,"b c"\n007,NA,"x\r\ny",1e3\n-0.0,,"q""q",True\n'
    path.write_bytes(content.encode("utf-8-sig"))
    found = read_table(path)
    assert found.columns.tolist() == ["a", "", "a", "b c"]
    write_table(found, again)
    assert again.read_bytes().decode() == content.replace('"b c"', "b c")


def test_csv_may_be_separated_by_semicolons(tickets, quick, tmp_path):
    path, again = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text('text;label\na, b;1,5\n"c;d";x\n')
    found = read_table(path)
    assert found.to_numpy().tolist() == [["a, b", "1,5"], ["c;d", "x"]]
    write_table(found, again)
    assert again.read_text() == path.read_text()
    write_table(found, tmp_path / "c.tsv")
    assert "a, b\t1,5" in (tmp_path / "c.tsv").read_text()
    # A comma in the first line makes it the separator.
    path.write_text("text,a;b\nc;d,e\n")
    assert read_table(path).columns.tolist() == ["text", "a;b"]
    # From one command to the other.
    read_strings(tickets).to_csv(path, sep=";", index=False)
    assert run("clean", path, "--out", again, "--force", "--quiet") == 0
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
            "id": 2**70,
            "x": 1.5,
            "text": "é\u2028",
            "is": True,
            "list": [1, {"a": None}],
        },
        {"id": None, "text": "\ud800", "label": 0},
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    write_table(read_table(path), again)
    lines = again.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == rows
    assert "é" in lines[0]


def test_parquet_keeps_its_types(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path, again = tmp_path / "a.parquet", tmp_path / "b.parquet"
    columns = {
        "id": pa.array([2**60 + 1, None], pa.int64()),
        "when": pa.array([0, None], pa.timestamp("s")),
        "list": [[1, 2], None],
        "text": ["a", None],
    }
    given = pa.table(columns)
    parquet.write_table(given, path)
    write_table(read_table(path), again)
    found = parquet.read_table(again)
    assert found.to_pydict() == given.to_pydict()
    assert found.schema.field("id").type == pa.int64()


def test_excel_keeps_its_types(tmp_path, capsys, monkeypatch):
    path, again = tmp_path / "a.xlsx", tmp_path / "b.xlsx"
    rows = [
        [1, None, datetime.datetime(2020, 1, 2), True, "=> below", "007"],
        [None, 1.5, None, False, "#N/A", "NA"],
    ]
    frame = pd.DataFrame(
        rows, columns=["text", "", "text", "d", 2024, "y"], dtype=object
    )
    write_table(frame, path)
    write_table(read_table(path), again)
    found = read_table(again)
    assert found.columns.tolist() == ["text", "", "text", "d", "2024", "y"]
    assert found.to_numpy().tolist() == rows
    assert fail(capsys, "clean", path, "--text", "2024", "--out", tmp_path / "a.jsonl")
    monkeypatch.setattr(_tables, "find_spec", lambda name: None)
    assert "xlsx needs openpyxl, which is not" in fail(capsys, "clean", path)


def test_what_another_kind_of_file_cannot_hold(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,y,n,n\na,b,1,2\nc,d,3,4\n")
    said = fail(capsys, "clean", path, "--out", tmp_path / "b.jsonl", "--dry-run")
    assert "b.jsonl cannot hold the table: it has two columns 'n'" in said
    path.write_text(f"text,y\n{'long ' * 7000},b\nc,d\n")
    said = fail(capsys, "clean", path, "--out", tmp_path / "b.xlsx", "--dry-run")
    assert "b.xlsx cannot hold the table: Cell contents too long" in said
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "y": 1, "z": 1}\n{"text": "b", "y": 2, "z": "a"}')
    said = fail(capsys, "clean", path, "--out", tmp_path / "b.parquet", "--dry-run")
    assert "b.parquet cannot hold the table" in said


# clean


def test_clean_gives_what_the_classifier_says(cleaned, table):
    found = read_strings(cleaned / "tickets.cleaned.csv")
    given = read_table(cleaned / "tickets.cleaned.csv")[table.columns]
    assert given.equals(read_table(cleaned / "tickets.csv"))
    assert found.columns.tolist()[-4:] == NEW
    clf = make_quick(SimpleNamespace(seed=0, quiet=True))
    clf.fit(table["Body"], table["TAG"])
    codes = (table["TAG"].to_numpy()[:, None] == clf.classes_).argmax(axis=1)
    suggested = clf.label_distributions_.argmax(axis=1)
    assert_array_equal(found["label_suggested"], clf.classes_[suggested])
    assert_array_equal(found["label_corrected"], clf.transduction_)
    quality = clf.label_distributions_[np.arange(len(codes)), codes]
    assert_allclose(found["label_quality"].astype(float), quality, rtol=1e-12)
    assert_array_equal(found["is_issue"], np.where(suggested != codes, "True", "False"))
    assert 0 < (suggested != codes).sum() < len(codes)


def test_summary(tickets, quick, tmp_path, capsys):
    frame = read_strings(tickets)
    frame.loc[[3, 4, 5], "TAG"] = ["", "-1", ""]
    frame.loc[7, "Body"] = ""
    write_strings(frame, tickets)
    model = tmp_path / "model.skops"
    assert run("clean", tickets, "--model-out", model, "--missing-label", "-1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tickets}: texts in 'Body', labels in 'TAG'"
    said = dict(line.split("   ", 1) for line in lines[1:])
    said = {name.strip(): value.strip() for name, value in said.items()}
    found = read_strings(tmp_path / "tickets.cleaned.csv")
    is_issue = found["is_issue"] == "True"
    labelled = ~found["TAG"].isin(["", "-1"])
    changed = labelled & (found["label_corrected"] != found["TAG"])
    counts = found["TAG"][labelled].value_counts()
    assert said["rows"] == "120 (3 without a label, 1 with an empty text)"
    assert said["classes"] == "2: " + ", ".join(f"{k} {n}" for k, n in counts.items())
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
    assert_array_equal(found["TAG"][3:6], ["", "-1", ""])
    assert (found["label_quality"] == "").tolist() == (~labelled).tolist()
    assert found["label_suggested"].isin(["animal", "fruit"]).all()
    assert not is_issue[~labelled].any()


def test_numbers_and_gaps_of_parquet(word_texts, quick, tmp_path):
    texts, labels, _ = word_texts
    codes = pd.array((labels == "fruit").astype(int), dtype="Int64")
    codes[:2] = None
    path, out = tmp_path / "a.parquet", tmp_path / "b.jsonl.gz"
    pd.DataFrame({"text": texts, "y": codes, "n": 1}).to_parquet(path)
    assert run("clean", path, "--out", out, "--quiet") == 0
    rows = [json.loads(line) for line in gzip.open(out)]
    assert rows[0].keys() == {"text", "y", "n", *NEW}
    found = [rows[0][name] for name in ("y", "label_quality", "is_issue")]
    assert found == [None, None, False]
    assert {row["label_suggested"] for row in rows} <= {0, 1}
    assert isinstance(rows[5]["label_quality"], float)


def test_options_of_the_classifier(tickets, tiny_model, monkeypatch):
    fitted = []
    monkeypatch.setattr(
        DyGenClassifier, "fit", lambda clf, *_: fitted.append(clf) or 1 / 0
    )
    command = ["clean", tickets, "--model", tiny_model]
    with pytest.raises(ZeroDivisionError):
        run(*command, "--epochs", "7", "--device", "cpu", "--seed", "5", "--quiet")
    with pytest.raises(ZeroDivisionError):
        run(*command, "--fast")
    stages = [clf.dynamics for clf in fitted]
    assert [stage.trainable_layers for stage in stages] == [3, 0]
    assert [stage.n_epochs for stage in stages] == [7, LanguageModelDynamics().n_epochs]
    assert [stage.device for stage in stages] == ["cpu", "auto"]
    assert [stage.model for stage in stages] == [tiny_model] * 2
    assert [(clf.random_state, clf.verbose) for clf in fitted] == [(5, 0), (0, 1)]


def test_dry_run(tickets, tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    model, before = tmp_path / "model.skops", names_in(tmp_path)
    command = ["clean", tickets, "--model", tiny_model, "--fast", "--dry-run"]
    assert run(*command, "--model-out", model) == 0
    assert names_in(tmp_path) == before
    said = capsys.readouterr().out
    animals = f"animal {(read_strings(tickets)['TAG'] == 'animal').sum()}"
    cleaned = tmp_path / "tickets.cleaned.csv"
    for word in (
        "120",
        "'Body'",
        "'TAG'",
        animals,
        "frozen",
        tiny_model,
        cleaned,
        model,
    ):
        assert str(word) in said


def test_progress_is_shown_on_stderr(tickets, quick, tmp_path, capfd):
    model = tmp_path / "model.skops"
    command = ["clean", tickets, "--model-out", model, "--force"]
    assert run(*command, "--quiet") == 0
    assert capfd.readouterr() == ("", "")
    assert run(*command) == 0
    out, err = capfd.readouterr()
    assert "denoising" in err
    assert "denoising" not in out
    # The model that was kept shows none when it is used in Python.
    clf = load_estimator(model)
    clf.predict(["a text"])
    clf.fit(["a cat", "a dog", "an apple", "a plum"] * 2, [0, 0, 1, 1] * 2)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_replaced_without_force(tickets, quick, tmp_path, capsys):
    out, model = tmp_path / "tickets.cleaned.csv", tmp_path / "model"
    command = ["clean", tickets, "--quiet", "--model-out", model]
    out.write_text("mine")
    assert f"{out}: it exists; pass --force" in fail(capsys, *command)
    assert out.read_text() == "mine"
    assert not model.exists()
    assert run(*command, "--force") == 0
    assert out.read_text() != "mine"
    out.unlink()
    assert f"{model}: it exists; pass --force" in fail(capsys, *command)
    assert run(*command, "--force") == 0
    # Other files and folders never are.
    model.write_text("mine")
    assert "model: it is no saved model" in fail(capsys, *command, "--force")
    (tmp_path / "parts.csv").mkdir()  # as Spark writes tables
    command[-2:] = ["--out", tmp_path / "parts.csv"]
    assert "parts.csv: it is a folder" in fail(capsys, *command, "--force")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "{0}/none/a.csv"], "a.csv: there is no folder {0}/none; make it"),
        (["--out", "{0}/a.xls"], "a.xls is no table by its name; use one that ends"),
        (["--out", "{0}/.csv"], ".csv is no table by its name"),
        (["--out", "{0}/tickets.csv", "--force"], "tickets.csv: it is read or written"),
        (["--out", "{0}/a.csv", "--model-out", "{0}/a.csv"], "read or written already"),
        (["--report", "{0}/a.pdf"], "a.pdf: the report is HTML"),
        (["--model-out", "{0}/none/model"], "there is no folder {0}/none"),
        (
            ["--text", "bdy"],
            "--text 'bdy' is no column of {0}/tickets.csv; it has ['id'",
        ),
        (["--label", ""], "--text 'Body' and --label"),
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
    assert message.format(tmp_path) in fail(capsys, "clean", tickets, *arguments)
    assert names_in(tmp_path) == ["tickets.csv"]


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
        ("a.csv.gz", compressed(b"a\n\xff"), "not encoded in UTF-8: line 2 has"),
        ("a.csv", b"text,label\na,b\na,b,c\n", "Expected 2 fields in line 3, saw 3"),
        ("a.csv.gz", b"text,label\n", "a.csv.gz cannot be read"),
        ("a.csv.gz", compressed(b"text,label\n" * 9)[:-9], "gz cannot be read"),
        ("a.parquet", b"text,label\n", "a.parquet cannot be read"),
        ("a.xlsx", b"text,label\n", "a.xlsx cannot be read"),
        ("a.jsonl", b'{"text": "a"}\n{"text"', "a.jsonl cannot be read: line 2: "),
        ("a.jsonl", b"[1]\n", "line 1: it is no JSON object"),
        (
            "a.csv",
            b"text,tag,CLASS\na,b,c\n",
            "may hold labels, ['tag', 'CLASS']; name",
        ),
        ("a.csv", b"text,kind\na,b\n", "is named label, labels, class"),
        ("a.csv", b"id,label\n1,b\n", "seems to hold texts; name one with --text"),
        ("a.csv", b"text,text,y\na,b,c\n", "'text' stands 2 times in"),
        ("a.csv", b"text,y,is_issue\na,b,c\n", "already has a column 'is_issue'"),
        ("a.csv", b"text,y\na,b\nc,b\n", "column 'y' has one class only, 'b'"),
        ("a.csv", b"text,y\na,\nc,\n", "column 'y' has no label at all"),
        (
            "a.jsonl",
            b'{"text": "a", "y": 1}\n{"text": 2, "y": 0}',
            "no text in row 2, 2",
        ),
        ("a.jsonl", b'{"text": "\\ud800", "y": 1}', "no valid Unicode in row 1"),
        ("a.jsonl", b'{"text": "", "y": 1}\n{"text": "", "y": "0"}', "mixes types"),
    ],
)
def test_errors_of_tables(tmp_path, name, content, message, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said = fail(capsys, "clean", tmp_path / name, "--dry-run")
    assert message in said
    assert str(tmp_path / name) in said or "olumn" in said


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
    path = tmp_path / "a.csv"
    write_strings(pd.DataFrame({k: list(v) for k, v in columns.items()}), path)
    assert run("clean", path, "--model", tiny_model, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"column {text!r} of" in said
    assert f"column {label!r}\n" in said


def test_errors_of_a_fit_are_one_line(tickets, quick, capsys, monkeypatch):
    def fit(self, X, y):
        raise ValueError("temp_folder is full;\n  empty it.")

    monkeypatch.setattr(DyGenClassifier, "fit", fit)
    command = ["clean", tickets, "--quiet"]
    said = fail(capsys, *command)
    assert said == "skdygen: error: temp_folder is full; empty it.\n"
    with pytest.raises(ValueError, match="temp_folder is full"):
        run(*command, "--debug")
    monkeypatch.setattr(DyGenClassifier, "fit", lambda self, X, y: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        run(*command)


def test_what_can_be_written_is_not_lost(tickets, quick, tmp_path, capsys, monkeypatch):
    def fail_to_write(*args):
        raise OSError("the disk is full")

    monkeypatch.setattr(_commands, "write_table", fail_to_write)
    model = tmp_path / "model"
    said = fail(capsys, "clean", tickets, "--quiet", "--model-out", model)
    assert "tickets.cleaned.csv was not written: the disk is full" in said
    assert load_estimator(model).predict(["a cat"]).shape == (1,)
    assert names_in(tmp_path) == ["model", "tickets.csv"]


# predict


def test_predict(cleaned, tmp_path, capsys):
    texts = [*make_word_texts(30, seed=1)[0], ""]
    path = tmp_path / "new.csv"
    write_strings(pd.DataFrame({"n": "01", "message": texts}), path)
    command = ["predict", cleaned / "model.skops", path, "--text", "message"]
    assert run(*command, "--device", "cpu") == 0
    found = read_strings(tmp_path / "new.predicted.csv")
    assert found.columns.tolist() == ["n", "message", "label_predicted", "confidence"]
    assert_array_equal(found["n"], "01")
    clf = load_estimator(cleaned / "model.skops")
    assert_array_equal(found["label_predicted"], clf.predict(texts))
    expected = clf.predict_proba(texts).max(axis=1)
    assert_allclose(found["confidence"].astype(float), expected, rtol=1e-12)
    assert "31 texts of column 'message'" in capsys.readouterr().out
    assert "exists; pass --force" in fail(capsys, *command)
    assert run(*command, "--force", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    command[2] = tmp_path / "new.predicted.csv"
    assert "already has a column 'label_predicted'" in fail(capsys, *command)
    command[1] = cleaned / "none"
    assert f"{cleaned / 'none'}" in fail(capsys, *command)


def test_columns_are_those_of_the_fit(table, quick, reports, tmp_path, capsys):
    # The names that are guessed, text and label, are those of other columns here.
    renamed = {"Body": "subject", "TAG": "team"}
    frame = table.rename(columns=renamed).assign(text="a cat", label="x")
    path = write_strings(frame, tmp_path / "a.csv")
    model = tmp_path / "model"
    command = ["clean", path, "--text", "subject", "--label", "team", "--quiet"]
    assert run(*command, "--model-out", model) == 0
    assert run("predict", model, path) == 0
    assert "texts of column 'subject'" in capsys.readouterr().out
    found = read_strings(tmp_path / "a.predicted.csv")["label_predicted"]
    clf = load_estimator(model)
    assert_array_equal(found, clf.predict(frame["subject"]))
    assert run("report", model, path, "--out", tmp_path / "report.html") == 0
    assert "texts of column 'subject'" in capsys.readouterr().out
    write_strings(frame.drop(columns="subject"), path)
    said = fail(capsys, "predict", model, path, "--force")
    assert "has no column 'subject', on which the model was fitted" in said
    # Even the column of the labels can be classified.
    assert run("predict", model, path, "--text", "team", "--force", "--quiet") == 0
    # A model that was saved by hand names no columns.
    save_estimator(clf, model, overwrite=True)
    assert run("predict", model, path, "--force") == 0
    assert "texts of column 'text'" in capsys.readouterr().out


def test_predict_with_other_models(cleaned, tmp_path, capsys):
    for model, message in (
        (DyGenClassifier(), "holds a classifier that is not fitted"),
        (LanguageModelDynamics(), "holds a LanguageModelDynamics, no DyGenClassifier"),
    ):
        save_estimator(model, tmp_path / "model", overwrite=True)
        said = fail(capsys, "predict", tmp_path / "model", cleaned / "tickets.csv")
        assert message in said


# report


def test_report(cleaned, reports, tmp_path, capsys):
    out, given = tmp_path / "report.html", cleaned / "tickets.csv"
    command = ["report", cleaned / "model.skops", given, "--out", out, "--force"]
    assert run(*command) == 0
    (clf, path, texts), params = reports[0]
    assert isinstance(clf, DyGenClassifier)
    assert (path, params) == (out, {"overwrite": True})
    assert texts == read_strings(given)["Body"].tolist()
    assert "120 texts of column 'Body'" in capsys.readouterr().out
    # Another table is none of the model.
    command[2] = tmp_path / "a.csv"
    frame = read_strings(given)
    write_strings(frame.iloc[1:], command[2])
    said = fail(capsys, *command)
    assert "has 119 rows, but" in said
    assert "was fitted on 120" in said
    right = frame.loc[4, "TAG"]
    frame.loc[4, "TAG"] = wrong = {"animal": "fruit", "fruit": "animal"}[right]
    write_strings(frame, command[2])
    said = fail(capsys, *command)
    assert f"Row 5 of {command[2]} has the label {wrong!r}" in said
    assert f"was fitted with {right!r} there" in said
    # Labels of another kind are not those that it was fitted on.
    write_strings(frame.drop(columns="TAG").assign(category="urgent"), command[2])
    assert run(*command, "--quiet") == 0
    assert len(reports) == 2


# demo


def test_demo(reports, tmp_path, capsys):
    report = tmp_path / "report.html"
    options = SimpleNamespace(seed=0, noise=0.3, report=report, force=False)
    _commands.demo(options, dynamics=IncrementalDynamics(n_epochs=10))
    out = capsys.readouterr().out
    assert "30% of the labels wrong" in out
    shares = dict(line.split("   ", 1) for line in out.splitlines() if "   0." in line)
    shares = {name.strip(): float(share) for name, share in shares.items()}
    assert shares["right labels, as given"] == pytest.approx(0.7)
    assert shares["test accuracy, DyGen"] > 0.6
    listed = out[out.index("most suspicious labels") :].splitlines()[2:13]
    names = ["index", "given", "suggested", "true", "confidence", "quality", "text"]
    assert listed[0].split() == names
    assert all(line.split()[0].isdigit() for line in listed[1:])
    assert reports[0][1]["title"] == "500 messages"
    assert str(report) in out
    report.write_text("mine")
    assert "pass --force" in fail(capsys, "demo", "--report", report)


# The whole


@pytest.mark.long
def test_all_commands_with_a_language_model(tickets, tiny_model, tmp_path, capfd):
    model, report = tmp_path / "model.skops", tmp_path / "report.html"
    command = ["clean", tickets, "--model", tiny_model, "--fast", "--epochs", "2"]
    assert run(*command, "--report", report, "--model-out", model) == 0
    assert "fine-tuning" in capfd.readouterr().err
    again = tmp_path / "again.html"
    assert run("report", model, tickets, "--out", again, "--quiet") == 0
    assert "<html" in report.read_text(encoding="utf-8")
    assert again.stat().st_size == pytest.approx(report.stat().st_size, rel=0.01)
    assert run("predict", model, tickets, "--device", "cpu", "--quiet") == 0
    assert capfd.readouterr() == ("", "")
    found = read_strings(tmp_path / "tickets.predicted.csv")["label_predicted"]
    assert_array_equal(
        found, load_estimator(model).predict(read_strings(tickets)["Body"])
    )


@pytest.mark.long
def test_ctrl_c(tickets, tiny_model, tmp_path):
    command = ["clean", tickets, "--model", tiny_model, "--epochs", "9999"]
    process = subprocess.Popen(
        [sys.executable, "-m", "skdygen", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "texts in 'Body'" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].splitlines()[-1] == "skdygen: interrupted"
    assert process.returncode == 130
    assert names_in(tmp_path) == ["tickets.csv"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Usage: skdygen", "predict", "Exit codes"]),
        (["wash"], ["No such command 'wash'"]),
        (["clean"], ["Usage: skdygen clean", "TABLE"]),
        (["clean", "a.csv", "--epochs", "0"], ["--epochs"]),
        (["clean", "a.csv", "--seed", "one"], ["--seed"]),
        (["report", "model", "a.csv"], ["Missing option '--out'"]),
        (["demo", "--noise", "2"], ["--noise"]),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    assert run(*arguments) == 2
    said = "".join(capsys.readouterr())
    assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ["Exit codes", "130", "parquet", "UTF-8", "predict", "Examples", "xlsx"]),
        ("clean", ["label_suggested", "is_issue", "--dry-run", "--force", "--fast"]),
        ("predict", ["label_predicted", "confidence"]),
        ("report", ["--out"]),
        ("demo", ["--noise", "[default: 0.3]"]),
    ],
)
def test_help(command, words, capsys):
    assert run(*command.split(), "--help") == 0
    said = capsys.readouterr().out
    assert all(word in said for word in words)


def test_help_waits_for_nothing():
    code = (
        "import sys; from skdygen._cli import main\n"
        "assert main(['clean', '--help']) == main(['--version']) == 0\n"
        "sys.exit(not {'pandas', 'sklearn', 'torch'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
