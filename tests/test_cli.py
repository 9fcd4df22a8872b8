"""The command line, as it is typed."""

import csv
import datetime
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY, Mock
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyarrow import parquet

from skdygen import DyGenClassifier, _decisions, load
from skdygen._cli import _commands, _fit, _inspect, _tables, _terminal, _training, main
from skdygen._cli._encodings import name_encoding
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import (
    IncrementalDynamics,
    LanguageModelDynamics,
    _checkpoint,
    _engine,
)
from skdygen.inspection import _html_report
from skdygen.priors import UniformPrior
from tests.conftest import make_word_texts

CLEANED = "tickets.cleaned.csv"
NEW = ["label_suggested", "label_quality", "is_issue", "label_corrected"]


@pytest.fixture(scope="session")
def table(word_texts):
    """Make a table with cells that are easily changed by mistake."""
    texts, _, noisy = word_texts
    odd = ["", "NA", "nan", " a ", 'say "hi"', "a,b\tc", "a\r\nb", "a\rb", "é€😀", "=1"]
    columns = {"id": [f"{i:05d}" for i in range(120)], "": odd * 12, "Body": texts}
    return pd.DataFrame(columns).assign(amount="1.10", TAG=noisy.astype(str).tolist())


@pytest.fixture
def tickets(table, tmp_path):
    """Write the table as CSV, and give its path."""
    return write(table, tmp_path / "tickets.csv")


def make_quick(options):
    """Make a classifier that is fitted in no time."""
    dynamics, denoiser = IncrementalDynamics(n_epochs=10), DirichletVAE(n_epochs=2)
    clf = DyGenClassifier(dynamics, denoiser=denoiser, missing_label=np.nan)
    return clf.set_params(random_state=options.seed, verbose=int(not options.quiet))


@pytest.fixture
def quick(monkeypatch):
    """Have commands fit in no time."""
    monkeypatch.setattr(_fit, "make_classifier", make_quick)


@pytest.fixture
def write_report(monkeypatch):
    """Have no report written."""
    monkeypatch.setattr(_commands, "write_report", mocked := Mock())
    return mocked


@pytest.fixture
def model(tickets, quick, tmp_path):
    """Clean the table, and give the path of the model."""
    model = tmp_path / "model.skops"
    assert run("clean", tickets, "--model-out", model, "--quiet") == 0
    return model


def run(*arguments):
    return main(list(map(str, arguments)))


def fail(capsys, *arguments):
    """Run a command that has to fail, and give the line that says why."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("skdygen: error: ")
    return err


def write(frame, path):
    frame.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    return path


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def parse_summary(out):
    """Make a dict of the lines of a summary."""
    return {line[:26].strip(): line[26:] for line in out.splitlines()}


@pytest.mark.parametrize("suffix", _tables.SUFFIXES)
def test_tables_come_back_as_they_were(table, suffix, tmp_path):
    path = tmp_path / f"table{suffix}"
    _tables.write_table(table, path)
    found = _tables.read_table(path)
    if suffix == ".xlsx":  # a cell is empty or not, and has no carriage returns
        table = table.replace({"": None}).replace("\r\n?", "\n", regex=True)
    assert found.columns.tolist() == table.columns.tolist()
    assert found.to_numpy().tolist() == table.to_numpy().tolist()
    assert names_in(tmp_path) == [path.name]
    assert not suffix.endswith(".gz") or gzip.decompress(path.read_bytes())
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("content", "rows", "written"),
    [
        ('\ufeffa,,a,b\n007,NA,"x\r\ny","q""q"\n',
         [["a", "", "a.1", "b"], ["007", "NA", "x\r\ny", 'q"q']],
         None),
        # Semicolons or tabs, where header and first row have more cells by them.
        ('a;b\na, b;1,5\n"c;d";x\n', [["a", "b"], ["a, b", "1,5"], ["c;d", "x"]], None),
        ("a,b;c\nd;e,f\n", [["a", "b;c"], ["d;e", "f"]], None),
        ("a, b;c\n1;2\n", [["a, b", "c"], ["1", "2"]], None),
        ("a, b, c;d\n1, 2;3\n", [["a, b, c", "d"], ["1, 2", "3"]], None),
        ('"a;b;c",d\n1,2\n', [["a;b;c", "d"], ["1", "2"]], "a;b;c,d\n1,2\n"),
        ("a, b\tc;d\n1\t\n", [["a, b", "c;d"], ["1", ""]], None),
        ("a;b\n1\n", [["a", "b"], ["1", ""]], "a;b\n1;\n"),
        # Rows that end early have empty cells; only in a single column, blank ones do.
        # Line ends and quotes in a header, and names that stand twice, as pandas does.
        ('"x\ny",b\r\n"c\nd",e\r\n', [["x\ny", "b"], ["c\nd", "e"]], None),
        ("a,a,a.1,a\n1,2,3,4\n", [["a", "a.2", "a.1", "a.3"], [*"1234"]], None),
        ("a,b\nc\n\nd,e\n", [["a", "b"], ["c", ""], ["d", "e"]], "a,b\nc,\nd,e\n"),
        ("a\nb\n\n  \n", [["a"], ["b"], [""], ["  "]], 'a\nb\n""\n  \n'),
        # All in quotes, or only what needs them.
        ('"a","b;c"\r\n"","d ""\ne"""\r\n', [["a", "b;c"], ["", 'd "\ne"']], None),
        ('"a";"b"\n"c";"d, e"\n', [["a", "b"], ["c", "d, e"]], None),
        ('"a"\n"b"\n', [["a"], ["b"]], None),
        ('"a","b"\n1,"d"\n', [["a", "b"], ["1", "d"]], "a,b\n1,d\n"),
    ],
)  # fmt: skip
def test_csv_cells_are_left_alone(content, rows, written, tmp_path):
    path, again = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_bytes(content.encode())
    found = _tables.read_table(path)
    assert [found.columns.tolist(), *found.to_numpy().tolist()] == rows
    _tables.write_table(found, again)
    assert again.read_bytes().decode() == (written or content)


UMLAUT = "text;label\r\nä 1;x\r\nb ß;y\r\n"


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (UMLAUT.encode("utf-8-sig"), {}, "utf-8 with a byte-order mark"),
        (UMLAUT.encode("utf-16"), {}, "utf-16-le with a byte-order mark"),
        (b"\xfe\xff" + UMLAUT.encode("utf-16-be"), {}, "utf-16-be with a byte-order"),
        (UMLAUT.encode("cp1252"), {}, "cp1252, guessed since it is not UTF-8; --enc"),
        (UMLAUT.encode("cp437"), {"encoding": "cp437"}, "cp437"),
        (UMLAUT.encode(), {}, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_text_files_are_written_as_they_came(content, options, said, suffix, tmp_path):
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    found = _tables.read_table(path, **options)
    assert found.to_numpy().tolist() == [["ä 1", "x"], ["b ß", "y"]]
    _tables.write_table(found, again)
    written = again.read_bytes()
    assert (gzip.decompress(written) if suffix.endswith("gz") else written) == content
    said_of = name_encoding(_tables.form_of(found)).get("encoding", "")
    assert said_of[: len(said) or None].strip() == said
    # In JSON, which is UTF-8, only line ends are left of it.
    _tables.write_table(found, tmp_path / "c.jsonl")
    lines = (tmp_path / "c.jsonl").read_bytes().decode().split("\r\n")
    assert [json.loads(x)["text"] for x in lines if x] == ["ä 1", "b ß"]
    _tables.write_table(_tables.read_table(tmp_path / "c.jsonl"), tmp_path / "d.jsonl")
    assert (tmp_path / "d.jsonl").read_bytes() == (tmp_path / "c.jsonl").read_bytes()


def test_encodings_on_the_command_line(table, quick, tmp_path, capsys):
    path, model = tmp_path / "a.csv", tmp_path / "model"
    frame = table[["Body"]].assign(TAG=table["TAG"].replace("animal", "Tür"))
    frame.to_csv(path, index=False, encoding="cp437")
    command = ["clean", path, "--encoding", "cp437", "--model-out", model]
    assert run(*command) == 0
    assert parse_summary(capsys.readouterr().out)["encoding"] == "cp437"
    cleaned = pd.read_csv(tmp_path / "a.cleaned.csv", encoding="cp437")
    assert {*cleaned["label_suggested"]} == {"Tür", "fruit"}
    for command in (["predict", model], ["inspect"], ["check"]):
        assert run(*command, path, "--encoding", "cp437") == 0
        assert parse_summary(capsys.readouterr().out)["encoding"] == "cp437"
    # What somebody has verified in another file has to fit in there, too.
    checked = tmp_path / "b.csv"
    checked.write_text("row,verified\n1,動物\n", encoding="utf-8-sig")
    command = ["clean", path, "--verified", checked, "--force"]
    said = fail(capsys, *command, "--encoding", "cp437")
    assert "a.cleaned.csv cannot hold '動' in cp437; save TABLE in UTF-8" in said
    for encoding in ("cp437", "utf-8", "utf-16"):
        checked.write_text("row,verified\n1,Tür\n", encoding=encoding)
        assert run(*command, "--encoding", "cp437", "--dry-run") == 0
        said = parse_summary(capsys.readouterr().out)
        assert said["labels verified"] == "1"
    assert "cannot be read: unknown encoding: x" in fail(
        capsys, *command, "--encoding=x"
    )


@pytest.mark.parametrize(
    ("numbers", "separator", "decimal"),
    [
        (["1,5", "2,25"], ";", ","),
        (["1,5", "2,25"], "\t", ","),
        (["1,5", "2,25"], ",", "."),  # where a comma ends a cell, it ends no number
        (["1,500", "2,250"], "\t", "."),  # these are thousands
        (["1.5", "2.25"], ";", "."),
        (["1", "2"], ";", ","),
        (["1", "2"], "\t", "."),
    ],
)
def test_decimal_signs(numbers, separator, decimal, table, quick, tmp_path):
    path = tmp_path / "a.csv"
    frame = table[["Body", "TAG"]].assign(n=numbers * 60)
    frame.to_csv(path, index=False, sep=separator)
    model = tmp_path / "model"
    assert run("clean", path, "--quiet", "--model-out", model) == 0
    assert run("predict", model, path, "--quiet") == 0
    for name, column in (("cleaned", "label_quality"), ("predicted", "confidence")):
        out = tmp_path / f"a.{name}.csv"
        found = pd.read_csv(out, sep=separator, dtype=str)
        assert found["n"].tolist() == numbers * 60
        assert all(re.fullmatch(rf"[01][{decimal}]\d{{1,3}}", x) for x in found[column])


def test_sort_and_only_issues(tickets, quick, tmp_path, capsys):
    frame = read(tickets)
    frame.loc[::3, "TAG"] = "other"  # of three classes some issues are likelier right
    frame.loc[7, "TAG"] = ""
    write(frame, tickets)
    out = tmp_path / "out.csv"
    command = ["clean", tickets, "--quiet", "--force", "--out", out]
    found = []
    for options in ([], ["--sort"], ["--only-issues"], ["--sort", "--only-issues"]):
        assert run(*command, *options) == 0
        found.append(pd.read_csv(out, dtype={"id": str}))
    plain, ordered, issues, both = found
    n_issues = plain["is_issue"].sum()
    assert 1 < n_issues < 119
    by = {"by": ["is_issue", "label_quality"], "ascending": [False, True]}
    pd.testing.assert_frame_equal(
        ordered[["is_issue", "label_quality"]],
        plain.sort_values(**by)[["is_issue", "label_quality"]].reset_index(drop=True),
    )
    assert {*ordered["id"]} == {*plain["id"]}
    assert not ordered["label_quality"].is_monotonic_increasing
    assert ordered["id"].iloc[-1] == "00007"  # it has no label
    pd.testing.assert_frame_equal(both, ordered[:n_issues])
    # Rows are found in the original, where a spreadsheet shows the header as row 1.
    for found in (ordered, issues):
        assert_array_equal(found.pop("spreadsheet_row"), found["id"].astype(int) + 2)
    pd.testing.assert_frame_equal(
        issues, plain[plain["is_issue"]].reset_index(drop=True)
    )
    write(frame.assign(spreadsheet_row=1), tickets)
    assert run(*command) == 0
    said = fail(capsys, *command, "--sort")
    assert "already has a column 'spreadsheet_row'" in said


@pytest.mark.parametrize(
    ("options", "why", "what"),
    [
        (["--threshold", "1"], "no other class has a probability of 1", "a lower --"),
        (["--label", "right"], "no label looks wrong", "check 50: skdygen check"),
        (["--label", "id"], "the texts hardly foretell the labels", "check 50: skd"),
        (["--label", "rule"], "the model is not sure enough, as with", "check 50: skd"),
        (["--verified", "seen"], "the suggestions make the verified", "first: --sort"),
    ],
)  # fmt: skip
def test_why_nothing_was_corrected(
    options, why, what, tickets, word_texts, quick, capsys, monkeypatch
):
    frame, right = read(tickets), word_texts[1]
    rng = np.random.default_rng(0)
    frame = frame.assign(right=right, seen=frame["TAG"], id=rng.choice([*"ab"], 120))
    write(frame.assign(rule=frame["TAG"]), tickets)
    if "rule" in options or "seen" in options:  # not easily made
        monkeypatch.setattr(_decisions, "_act", lambda *args: np.array([False] * 120))
    if "seen" in options:
        frame.loc[40:, "seen"] = ""
        write(frame, tickets)
    command = ["clean", tickets, "--text", "Body", "--label", "TAG", *options]
    command = command if "--label" not in options else [*command[:4], *options]
    assert run(*command) == 0
    said = parse_summary(capsys.readouterr().out)
    assert said["labels corrected"] == "0"
    assert said["why none"].startswith(why)
    assert what in said["why none"]


def test_json_keeps_its_types(tmp_path):
    path, again = tmp_path / "a.jsonl", tmp_path / "b.ndjson"
    first = {
        "id": 2**70,
        "x": 1.5e-300,
        "text": "é\u2028",
        "is": True,
        "a": [{"b": None}],
    }
    rows = [first, {"id": None, "text": "\ud800", "label": 0}]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    _tables.write_table(_tables.read_table(path), again)
    lines = again.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == rows
    assert "é" in lines[0]


def test_parquet_keeps_its_types(word_texts, quick, tmp_path):
    texts, labels, _ = word_texts
    path, out = tmp_path / "a.parquet", tmp_path / "b.parquet"
    columns = {"text": list(texts), "id": [2**60 + 1, None] * 60, "n": [[1], []] * 60}
    classes = [2**53, 2**53 + 1]  # the same number as floats
    columns["y"] = [None, None, *np.take(classes, labels[2:] == "fruit").tolist()]
    parquet.write_table(pa.table(columns), path)
    assert run("clean", path, "--out", out, "--quiet") == 0
    found = parquet.read_table(out)
    assert found.select([*columns]).to_pydict() == columns
    assert found.schema.field("id").type == found.schema.field("y").type == pa.int64()
    first, *_, last = found.to_pylist()
    assert (first["label_quality"], first["is_issue"]) == (None, False)
    corrected = set(found["label_corrected"].to_pylist())
    assert first["label_suggested"] in classes
    assert corrected == set(classes)
    assert isinstance(last["label_quality"], float)


def test_pandas_reads_what_came_from_parquet(tmp_path):
    path, again = tmp_path / "a.parquet", tmp_path / "b.parquet"
    category = pa.array(["a", None]).dictionary_encode()
    columns = {
        "category": category, "list": [[1], None], "struct": [{"a": 1}, {"a": None}],
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "when": pa.array([0, None], pa.timestamp("us", "Europe/Paris")),
        "id": [1, None], "text": ["a", None],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), path)
    frame = pd.DataFrame({"id": pd.array([2**60 + 1, None], "Int64"), "y": [1.5, None]})
    for write_first in (lambda: None, lambda: frame.to_parquet(path)):
        write_first()
        _tables.write_table(_tables.read_table(path).assign(new=True), again)
        expected, found = parquet.read_table(path), parquet.read_table(again)
        assert found.select(expected.column_names).equals(expected)
        expected, found = pd.read_parquet(path), pd.read_parquet(again)
        pd.testing.assert_frame_equal(found.drop(columns="new"), expected)
        assert not found.attrs


@pytest.mark.parametrize("names", [["id"], ["id", "n"]])
def test_an_index_of_ids_is_a_column(names, word_texts, quick, tmp_path, write_report):
    path, model = tmp_path / "a.parquet", tmp_path / "a.skops"
    ids = [f"T-{i}" for i in range(120)]
    columns = {"id": ids, "n": range(120), "text": word_texts[0], "y": word_texts[1]}
    frame = pd.DataFrame(columns).set_index(names)
    frame.to_parquet(path)
    report = ["--report", tmp_path / "a.html", "--id", "id", "--model-out", model]
    assert run("clean", path, *report, "--quiet") == 0
    assert write_report.call_args.kwargs["ids"].tolist() == ids
    found = pd.read_parquet(tmp_path / "a.cleaned.parquet")
    pd.testing.assert_frame_equal(found[frame.columns], frame)
    assert run("check", path, "--quiet") == 0
    for suffix, read in ((".csv", pd.read_csv), (".xlsx", pd.read_excel)):
        out = tmp_path / f"b{suffix}"
        assert run("predict", model, path, "--out", out, "--quiet") == 0
        assert read(out)["id"].tolist() == ids


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz"])
def test_excel_safe(suffix, word_texts, quick, tmp_path):
    path, label = (
        tmp_path / f"a{suffix}",
        np.where(word_texts[2] == "fruit", "=b", "-1"),
    )
    texts = [f"-{text}" for text in word_texts[0]]
    odd = [*FORMULAS, "", "a=b", "-1.5", "+49", "'=1", "-1,5e3"] * 10
    frame = pd.DataFrame({"=t": texts, "label": label, "odd": odd[:120]})
    _tables.write_table(frame, path)
    plain, safe = tmp_path / f"plain{suffix}", tmp_path / f"safe{suffix}"
    command = ["clean", path, "--text", "=t", "--quiet", "--out"]
    assert run(*command, plain) == run(*command, safe, "--excel-safe") == 0
    plain, safe = _tables.read_table(plain), _tables.read_table(safe)
    assert safe.columns.tolist() == ["'=t", *plain.columns[1:]]
    unsafe = {*FORMULAS, *texts, "=b", "-1,5e3"}
    for name, was in zip(safe.columns, plain.columns, strict=True):
        expected = [f"'{cell}" if cell in unsafe else cell for cell in plain[was]]
        assert safe[name].tolist() == expected
    # What is verified in such a table is known again.
    check = tmp_path / f"a.check{suffix}"
    params = ["--text", "=t", "--quiet", "--excel-safe"]
    assert run("check", path, *params, "--out", check) == 0
    found = _tables.read_table(check)
    _tables.write_table(found.assign(verified=found["given"]), check)
    assert {*found["given"]} == {"'=b", "-1"}
    command[-1:] = ["--dry-run", "--force", "--verified", check]
    assert run(*command) == 0


def test_excel_keeps_its_types(tmp_path):
    path, again = tmp_path / "a.xlsx", tmp_path / "b.xlsx"
    first = [1, None, datetime.datetime(2020, 1, 2), True, "=> below", "007"]
    rows = [first, [None, 1.5, None, False, "#N/A", "NA"]]
    names = ["text", "", "text", "d", 2024, "y"]
    _tables.write_table(pd.DataFrame(rows, columns=names, dtype=object), path)
    _tables.write_table(_tables.read_table(path), again)
    found = _tables.read_table(again)
    assert found.columns.tolist() == ["text", "", "text.1", "d", "2024", "y"]
    assert found.to_numpy().tolist() == rows
    header = pd.read_excel(again, header=None, nrows=1, na_filter=False)
    assert list(map(str, header.iloc[0])) == list(map(str, names))


@pytest.mark.parametrize(
    ("frame", "name", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["n", "n"]), "b.jsonl", "has two columns 'n'"),
        (pd.DataFrame([[1, 2]], columns=["n", "n"]), "b.parquet", "Duplicate column"),
        (pd.DataFrame({"n": [1.0, np.inf]}), "b.jsonl", "not JSON compliant"),
        (pd.DataFrame({"text": ["long " * 7000]}), "b.xlsx", "Cell contents too long"),
    ],
)
def test_what_a_file_cannot_hold(tmp_path, frame, name, message):
    with pytest.raises(ValueError, match=rf"{name} cannot hold the table: .*{message}"):
        _tables.check_writable(frame, tmp_path / name, ())


def test_clean(tickets, quick, tmp_path, capsys):
    frame = read(tickets)
    frame.loc[[3, 4, 5], "TAG"] = ["", "-1", "n/a"]
    frame.loc[7, "Body"] = ""
    model, out = tmp_path / "model", tmp_path / "tickets.cleaned.csv"
    command = ["clean", write(frame, tickets), "--model-out", model]
    assert run(*command, "--missing-label", "-1", "--missing-label", "n/a") == 0
    said, found = parse_summary(capsys.readouterr().out), read(out)
    given = _tables.read_table(out)[frame.columns]
    assert given.equals(_tables.read_table(tickets))
    labelled = ~found["TAG"].isin(["", "-1", "n/a"])
    clf = make_quick(SimpleNamespace(seed=0, quiet=True))
    clf.fit(frame["Body"], frame["TAG"].where(labelled, None).tolist())
    assert found.columns.tolist() == [*frame.columns, *NEW]
    assert re.match(r'"id".*"label_corrected"\n"00000".*"\n', out.read_text())  # quoted
    suggested = clf.classes_[clf.label_distributions_.argmax(axis=1)]
    assert_array_equal(found["label_suggested"], suggested)
    assert_array_equal(found["label_corrected"], clf.transduction_)
    quality = found["label_quality"].where(labelled, "nan").astype(float)
    assert_allclose(quality, clf.label_quality_.round(3), rtol=1e-12)
    assert_array_equal(found["label_quality"][~labelled], "")
    issues, is_issue = clf.label_issues(), found["is_issue"] == "True"
    assert found.index[is_issue].tolist() == sorted(issues["index"])
    assert 0 < len(issues) < 120
    # The summary says the same.
    counts = found["TAG"][labelled].value_counts()
    n_changed = (found["label_corrected"] != found["TAG"])[labelled].sum()
    expected = {
        "rows": "120 (3 without a label, 1 without text)",
        "classes": "2: " + ", ".join(f"{k!r} ({n})" for k, n in counts.items()),
        "labels estimated wrong": f"{clf.noise_rate_:.1%} (a guess, see skdygen check)",
        "labels that look wrong": f"{len(issues)} of 117",
        "labels corrected": str(n_changed),
        "model": str(model),
    }
    assert said.items() >= expected.items()


def test_options_of_the_classifier_and_ctrl_c(tickets, tiny_model, monkeypatch, capsys):
    fitted = []

    def fit(self, X, y, verified, votes):
        fitted.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(DyGenClassifier, "fit", fit)
    options = ["--fast", "--epochs", "7", "--device", "cpu", "--seed", "5"]
    options += ["--threshold", "0.7"]
    command = ["clean", tickets, "--model", tiny_model, "--cache", "folder"]
    assert run(*command, *options) == 130
    assert capsys.readouterr().err == "\nskdygen: interrupted\n"
    assert names_in(tickets.parent) == ["tickets.csv"]
    stage, params = fitted[0].dynamics, {"n_epochs": 7, "device": "cpu"}
    expected = {"model": tiny_model, "trainable_layers": 0, **params}
    assert stage.get_params().items() >= expected.items()
    assert (fitted[0].random_state, str(fitted[0].memory)) == (5, "folder")
    assert fitted[0].correction_threshold == 0.7


def test_check_and_clean(tickets, word_texts, quick, tmp_path, capsys):
    path, second = tmp_path / "tickets.check.csv", tmp_path / "second.csv"
    new, right = tmp_path / "new.csv", pd.Series(word_texts[1]).astype(object)
    texts, given = read(tickets)["Body"], read(tickets)["TAG"]
    assert run("check", tickets, "--n", "60", "--strategy", "random") == 0
    assert "60 labels to check: fill in the column" in capsys.readouterr().out
    found = read(path)
    names = ["row", "text", "given", "suggested", "confidence", "probability"]
    assert found.columns.tolist() == [*names, "verified"]
    rows = found["row"].astype(int)
    assert_array_equal(found["text"], texts[rows])
    assert_array_equal(found["given"], given[rows])
    assert {*found["probability"], *found["verified"]} == {"0.5", ""}
    assert "exists; pass --force" in fail(capsys, "check", tickets)
    # A row that is left empty is passed over; a class may be a new one.
    found["verified"] = right[rows].tolist()
    found.loc[[0, 1], "verified"] = ["", "berry "]
    write(found, path)
    assert run("clean", tickets, "--verified", path) == 0
    said, cleaned = parse_summary(capsys.readouterr().out), read(tmp_path / CLEANED)
    expected = found.rename(columns={"row": "index"}).astype({"index": int})
    expected.loc[0, "verified"] = None
    clf = make_quick(SimpleNamespace(seed=0, quiet=True))
    clf.fit(texts, given, verified=expected)
    assert cleaned.columns.tolist() == [*read(tickets).columns, *NEW, "is_accepted"]
    assert_array_equal(cleaned["label_corrected"][rows[1:]], expected["verified"][1:])
    assert_array_equal(cleaned["is_accepted"] == "True", clf.accept_labels())
    low, high = clf.noise_rate_interval_
    interval = f"{clf.noise_rate_:.1%} (95% interval: {low:.1%} to {high:.1%})"
    assert said["labels estimated wrong"] == interval
    assert said["labels verified"] == "59 (classes not among those: berry )"
    n_unread = clf.accept_labels().sum() - 59
    assert said["labels to take unread"].startswith(f"{n_unread} of 61")
    # A second round proposes others, and both are taken, each as a draw of its own.
    command = ["check", tickets, "--verified", path, "--out"]
    assert run(*command, new, "--n", "20", "--strategy", "random") == 0
    more = read(new)
    more["verified"] = right[more["row"].astype(int)].tolist()
    write(more, new)
    command = ["clean", tickets, "--verified", path, "--verified", new, "--force"]
    assert run(*command) == 0
    more = more.rename(columns={"row": "index"})
    more = more.astype({"index": int, "probability": float})
    expected = expected.astype({"probability": float})
    clf.fit(texts, given, verified=[expected, more])
    assert clf._targets.worth == 1
    accepted = read(tmp_path / CLEANED)["is_accepted"] == "True"
    assert_array_equal(accepted, clf.accept_labels())
    new.unlink()
    capsys.readouterr()
    command = ["check", tickets, "--verified", path, "--out"]
    assert "it is read or written already" in fail(capsys, *command, path, "--force")
    assert run(*command, second, "--n", "500", "--quiet") == 0
    others = read(second)["row"].astype(int)
    assert {*others} == {*range(120)} - {*rows[1:]}
    write(read(second).assign(verified=right[others].tolist()), second)
    command = ["check", tickets, "--verified", path, "--verified", second]
    assert "all labels are verified" in fail(capsys, *command, "--out", new)
    assert run("clean", *command[1:], "--force", "--quiet") == 0
    assert {*read(tmp_path / CLEANED)["is_accepted"]} == {"True"}
    # A column of the table can hold them, too.
    write(read(tickets).assign(seen=right.where(right.index % 9 < 1)), tickets)
    command = ["clean", tickets, "--verified", "seen", "--dry-run", "--force"]
    assert run(*command) == 0
    assert parse_summary(capsys.readouterr().out)["labels verified"] == "14"
    assert "two labels for row" in fail(capsys, *command, "--verified", path)


def export_from_label_studio(path, kind, answers):
    """Export tasks as Label Studio does, with lists of answers; None is skipped."""
    tasks = json.loads(path.read_text())
    for n, (task, given) in enumerate(zip(tasks, answers, strict=True)):
        task["id"], task["annotations"] = 1000 + n, []
        for label in given:
            choice = {"from_name": "verified", "to_name": "text", "type": "choices"}
            result = [choice | {"value": {"choices": [label]}}] if label else []
            annotation = {"result": result, "was_cancelled": label is None}
            task["annotations"].append(annotation | {"ground_truth": False})
    if kind == "json":
        path.write_text(json.dumps(tasks))
        return path
    rows = []
    for task, given in zip(tasks, answers, strict=True):
        common = task["data"] | {"id": task["id"], "annotator": 1, "annotation_id": 2}
        rows += [common | {"verified": label} for label in given if label]
        rows += [common] * (not given)
    if kind == "json-min":
        path.write_text(json.dumps(rows))
        return path
    frame = pd.DataFrame(rows, columns=sorted({*rows[0], "verified"}))
    frame.to_csv(path.with_suffix(".csv"), index=False, quoting=csv.QUOTE_NONNUMERIC)
    return path.with_suffix(".csv")


def export_from_argilla(path, kind, answers):
    """Export records as Argilla makes a table of them, with lists of answers."""
    rows = []
    for record, given in zip(json.loads(path.read_text()), answers, strict=True):
        row = {"id": record["id"], **record["fields"], **record["metadata"]}
        labels = [label or "animal" for label in given]
        statuses = ["submitted" if label else "discarded" for label in given]
        rows.append(row | {"verified.responses": labels or None})
        rows[-1]["verified.responses.status"] = statuses or None
    end = "," if kind == "json" else "\n"
    text = end.join(map(json.dumps, rows))
    path = path.with_suffix(".jsonl" if kind == "jsonl" else ".json")
    path.write_text(f"[{text}]" if kind == "json" else text)
    return path


@pytest.mark.parametrize(
    ("tool", "kind", "export"),
    [
        ("label-studio", "json", export_from_label_studio),
        ("label-studio", "json-min", export_from_label_studio),
        ("label-studio", "csv", export_from_label_studio),
        ("argilla", "json", export_from_argilla),
        ("argilla", "lines", export_from_argilla),
        ("argilla", "jsonl", export_from_argilla),
    ],
)
def test_annotation_tools(
    tool, kind, export, tickets, word_texts, quick, tmp_path, capsys
):
    """What comes back says the same as the table that somebody fills in."""
    command = ["check", tickets, "--n", "30", "--quiet"]
    assert run(*command) == 0
    assert run(*command, "--format", tool) == 0
    path, table = tmp_path / "tickets.check.json", tmp_path / "tickets.check.csv"
    assert "exists; pass --force" in fail(capsys, *command, "--format", tool)
    checked, right = read(table), word_texts[1]
    labels = right[checked["row"].astype(int)].astype(object)
    labels[:4] = ["", "", "pet", "fruit"]  # skipped, not done, and a new class
    answers = [[None], [], ["pet"], ["fruit", "animal", "fruit"]]
    answers += [[label] for label in labels[4:]]
    exported = export(path, kind, answers)
    tables = []
    for source in (exported, write(checked.assign(verified=labels), table)):
        assert run("clean", tickets, "--verified", source, "--force") == 0
        tables.append(read(tmp_path / CLEANED))
        said = parse_summary(capsys.readouterr().out)
        said.pop("time")
        tables.append(said)
    pd.testing.assert_frame_equal(tables[0], tables[2])
    assert tables[1] == tables[3]
    assert tables[1]["labels verified"] == "28 (classes not among those: pet)"


def test_what_annotation_tools_are_given(table, quick, tmp_path, capsys):
    texts = ['say "hi" & <b>', *table["Body"][1:-1], "two\nlines"]
    labels = table["TAG"].replace("animal", 'R & D\'s "x"')
    labels[7] = ""
    path = write(pd.DataFrame({"text": texts, "label": labels}), tmp_path / "a.csv")
    command, out = ["check", path, "--n", "120", "--format"], tmp_path / "b.json"
    classes = ['R & D\'s "x"', "fruit"]
    assert run(*command, "label-studio") == 0
    said = capsys.readouterr().out
    assert f"import {tmp_path / 'a.check.json'} into a project whose" in said
    config = ElementTree.parse(tmp_path / "a.check.xml")
    assert [each.get("value") for each in config.iter("Choice")] == classes
    (choices,), (text,) = config.iter("Choices"), config.iter("Text")
    assert choices.get("name") == "verified"
    assert choices.get("toName") == text.get("name")
    tasks = json.loads((tmp_path / "a.check.json").read_text())
    assert run(*command, "argilla", "--out", out, "--quiet") == 0
    settings = json.loads((tmp_path / "b.settings.json").read_text())
    options = settings["questions"][0]["settings"]["options"]
    assert [option["value"] for option in options] == classes
    records = json.loads(out.read_text())
    for task, record in zip(tasks, records, strict=True):
        data, (prediction,) = task["data"], task["predictions"]
        assert data["text"] == texts[data["row"]] == record["fields"]["text"]
        assert data["given"] == labels[data["row"]] == record["fields"].get("given", "")
        assert record["id"] == str(data["row"])
        assert record["metadata"] == {"probability": data["probability"]}
        suggestion = record["suggestions"]["verified"]
        assert prediction["score"] == suggestion["score"] == data["confidence"]
        value = {"choices": [suggestion["value"]]}
        (result,) = prediction["result"]
        assert (result["type"], result["value"]) == ("choices", value)
        assert suggestion["value"] == data["suggested"]
    # What cannot be written is found before the training.
    said = fail(capsys, *command, "argilla", "--out", tmp_path / "c.csv")
    assert "c.csv: tasks are JSON; use a name in .json" in said
    (tmp_path / "c.xml").touch()
    said = fail(capsys, *command, "label-studio", "--out", tmp_path / "c.json")
    assert "c.xml: it exists" in said
    path.write_text(path.read_text().replace("fruit", "x\x07"))
    said = fail(capsys, *command, "label-studio", "--force")
    assert "XML cannot hold the class" in said


TASK = {"data": {"row": 3, "text": "", "probability": 0.5}}


def annotate(*choices, **params):
    """Annotations of Label Studio, one of each list of choices."""
    result = {"type": "choices", "from_name": "verified"}
    return {
        "annotations": [
            {"result": [result | {"value": {"choices": each}}]} | params
            for each in choices
        ]
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([TASK | annotate(["a"], ["b"])],
         "row 3 has the labels 'a' and 'b' equally often; leave one of them"),
        ([TASK | annotate(["a", "b"])],
         "x.json, task 0: it has several classes, ['a', 'b']; leave one."),
        ([TASK | annotate(["a"], was_cancelled=True)], "nothing is verified there"),
        ([TASK | annotate()], "nothing is verified there"),
        ([TASK | annotate(["a"]), {"data": {"row": 3}} | annotate(["a"])],
         "x.json, task 1: its row, or the probability with which that was drawn"),
        ([{"data": {"text": "a", "probability": 1}} | annotate(["a"])], "task 0: its"),
        ([TASK | annotate(["a"]), {"data": {}}], "task 1: it is not as tools"),
        ([{"data": {"row": 900, "probability": 1}} | annotate(["a"])], "900 is no row"),
        ([{"row": 3, "probability": 1, "annotation_id": 1, "verified": "a"},
          {"row": 3, "probability": 1, "annotation_id": 2, "verified": "b"}],
         "row 3 has the labels 'a' and 'b' equally often"),
        ([{"row": 3, "probability": 1, "annotation_id": 1,
           "verified": {"choices": ["a", "b"]}}], "it has several classes"),
        ([{"row": 3, "probability": 1, "annotation_id": 1,
           "verified": json.dumps({"choices": ["a", "b"]})}], "it has several classes"),
        ([{"row": 3, "probability": 1, "annotation_id": 1, "verified": ["a", "b"]}],
         "task 0: it is not as tools export it"),
        ([{"id": "3", "responses": {"verified": [{"value": "a"}]}}],
         "does not say which responses were submitted; export by"),
        ([{"id": "3", "verified.responses": ["a"],
           "verified.responses.status": ["submitted"]}], "task 0: its row, or the"),
        ({"data": 1}, "'row' is no column of"),
        ([1], "is no list of objects"),
        ("[", "x.json cannot be read: Expecting value"),
    ],
)  # fmt: skip
def test_errors_of_exports(tickets, content, message, capsys, monkeypatch):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    path = tickets.with_name("x.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert message in fail(capsys, "clean", tickets, "--verified", path)


def test_who_decides_between_annotators(tickets, quick, tmp_path):
    """What is marked as ground truth, without regard to others."""
    tasks = [TASK | annotate(["fruit"], ["fruit"])]
    tasks[0]["annotations"] += annotate(["pet"], ground_truth=True)["annotations"]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(tasks))
    assert run("clean", tickets, "--verified", path, "--quiet") == 0
    assert read(tmp_path / CLEANED)["label_corrected"][3] == "pet"


def test_refit(tickets, word_texts, quick, tmp_path, capsys, monkeypatch):
    """Verified labels are added to a fit from before as if they had been there."""
    fit, path = tmp_path / "fit.skops", tmp_path / "tickets.check.csv"
    slim, new = tmp_path / "model.skops", tmp_path / "new.skops"
    assert run("check", tickets, "--n", "60", "--quiet", "--fit-out", fit) == 0
    checked = read(path)
    rows, texts = checked["row"].astype(int), read(tickets)["Body"]
    write(checked.assign(verified=word_texts[1][rows]), path)
    command = ["clean", tickets, "--verified", path]
    assert run(*command) == 0
    expected, said = read(tmp_path / CLEANED), parse_summary(capsys.readouterr().out)
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    before = fit.read_bytes()
    command += ["--refit", fit, "--force", "--model-out", slim, "--fit-out", new]
    assert run(*command) == 0
    pd.testing.assert_frame_equal(read(tmp_path / CLEANED), expected)
    found = parse_summary(capsys.readouterr().out)
    assert found.items() >= {k: v for k, v in said.items() if k != "time"}.items()
    assert fit.read_bytes() == before
    # A model for predictions holds nothing of the texts, one for a refit does.
    assert not hasattr(load(slim), "trajectories_")
    assert_array_equal(load(slim).predict(texts), load(new).predict(texts))
    # A second round asks for others; what is known from the first stays so.
    command = ["check", tickets, "--refit", new, "--force", "--quiet"]
    assert run(*command, "--n", "500") == 0
    others = read(path)
    assert {*others["row"].astype(int)} == {*range(120)} - {*rows}
    assert_array_equal(others["text"], texts[others["row"].astype(int)])
    write(others.assign(verified=word_texts[1][others["row"].astype(int)]), path)
    assert "all labels are verified" in fail(
        capsys, *command, "--verified", path, "--out", tmp_path / "a.csv"
    )
    command = ["clean", tickets, "--refit", new, "--force"]
    assert run(*command, "--dry-run") == 0
    said = parse_summary(capsys.readouterr().out)
    assert said["time needed"] == f"seconds, since {new} has been trained"
    assert said["labels verified"] == "60"
    assert run(*command, "--quiet", "--threshold", "0") == 0
    cleaned = read(tmp_path / CLEANED)
    assert_array_equal(cleaned["label_corrected"][rows], word_texts[1][rows])
    unread = cleaned.drop(index=rows)
    assert_array_equal(unread["label_corrected"], unread["label_suggested"])


def test_errors_of_a_refit(tickets, model, tmp_path, capsys, monkeypatch):
    fit, out = tmp_path / "fit.skops", tmp_path / "out.csv"
    command = ["clean", tickets, "--out", out, "--quiet"]
    assert run(*command, "--fit-out", fit) == 0
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    command += ["--force", "--refit"]
    assert "--fast is for the training" in fail(capsys, *command, fit, "--fast")
    assert "pass what --fit-out has written" in fail(capsys, *command, model)
    said = fail(capsys, *command, fit, "--fit-out", fit)
    assert "it is read or written already" in said
    assert "no table by its name" in fail(capsys, *command, fit, "--out", fit)
    frame = read(tickets)
    write(frame[1:], tickets)
    assert "has 119 rows, but" in fail(capsys, *command, fit)
    frame.loc[3, "TAG"] = {"animal": "fruit", "fruit": ""}[frame.loc[3, "TAG"]]
    write(frame, tickets)
    said = fail(capsys, *command, fit)
    assert "in row 3, but" in said
    assert "pass the same table, --label" in said
    write(frame.assign(Body=frame["Body"][::-1].to_numpy()), tickets)
    for other in (command, ["report", fit, tickets, "--out", tmp_path / "a.html"]):
        said = fail(capsys, *other, *[fit] * (other is command))
        assert "has other texts than" in said
        assert "rows are in another order; pass the same table" in said
    assert not (tmp_path / "a.html").exists()


def test_what_is_verified_in_another_kind_of_file(word_texts, quick, tmp_path, capsys):
    path, out = tmp_path / "a.parquet", tmp_path / "a.check.csv"
    frame = pd.DataFrame({"text": word_texts[0], "y": [0, 1] * 60})
    frame.iloc[::-1].to_parquet(path)
    assert run("check", path, "--quiet") == 0
    found = read(out).assign(verified="1")
    found["probability"] = found["probability"].str.replace(".", ",")
    found.to_csv(out, sep=";", index=False)
    assert run("clean", path, "--verified", out, "--quiet") == 0
    corrected = pd.read_parquet(tmp_path / "a.cleaned.parquet")["label_corrected"]
    assert set(corrected.iloc[found["row"].astype(int)]) == {1}
    write(found.assign(verified="x"), out)
    said = fail(capsys, "clean", path, "--verified", out, "--force")
    assert "verified has 'x' (str) in row" in said
    assert "(Rows are counted from 0, below the header: row 0 is row 2 " in said


def test_labels_that_are_written_almost_alike(word_texts, quick, tmp_path, capsys):
    path, checked = tmp_path / "a.csv", tmp_path / "b.csv"
    classes = np.array(["1", "1 "])[(word_texts[1] == "fruit").astype(int)]
    frame = pd.DataFrame({"text": word_texts[0], "y": classes})
    write(frame, path)
    write(pd.DataFrame({"row": [0, 1], "verified": ["1 ", "1"]}), checked)
    assert run("clean", path, "--verified", checked, "--quiet") == 0
    assert read(tmp_path / "a.cleaned.csv")["label_corrected"][:2].tolist() == [
        "1 ",
        "1",
    ]
    write(pd.DataFrame({"row": [0], "verified": ["1.0"]}), checked)
    said = fail(capsys, "clean", path, "--verified", checked, "--force")
    assert "b.csv: '1.0' in row 0 may be each of ['1', '1 ']; write one" in said
    path = tmp_path / "gaps.parquet"  # whole numbers are floats there
    frame.assign(y=(frame["y"] == "1") - 1.0).astype({"y": float}).to_parquet(path)
    error = fail(capsys, "clean", path, "--missing-label", "-1")
    assert "one class only, 0.0; 60 rows equal" in error


@pytest.mark.parametrize(
    ("classes", "typed"),
    [
        (["1", "2"], ["1.0", "2,00"]),
        (["delivery", "refund"], ["Delivery", " REFUND."]),
        ([False, True], ["FALSE", "TRUE"]),
        (["'=a", "=a"], ["'=a", "=a"]),
    ],
)
def test_verified_labels_are_spelled_otherwise(
    classes, typed, word_texts, quick, tmp_path
):
    path, checked = tmp_path / "a.jsonl", tmp_path / "b.csv"
    labels = [classes[name == "fruit"] for name in word_texts[1]]
    frame = pd.DataFrame({"text": word_texts[0], "y": labels})
    frame.to_json(path, orient="records", lines=True)
    write(pd.DataFrame({"row": range(3), "verified": [*typed, "  "]}), checked)
    assert run("clean", path, "--verified", checked, "--quiet") == 0
    found = pd.read_json(tmp_path / "a.cleaned.jsonl", lines=True, dtype=False)
    assert found["label_corrected"].tolist()[:2] == classes
    assert {*found["label_corrected"]} == {*classes}


def test_several_label_columns(table, word_texts, quick, tmp_path, capsys):
    right, noisy = np.array(word_texts[1:])
    third = np.arange(120) % 3
    votes = {"vote a": right, "vote [b]": noisy, "vote c": noisy[::-1]}
    votes = {k: np.where(third == i, "", v) for i, (k, v) in enumerate(votes.items())}
    frame = table[["Body"]].assign(**votes)
    frame.loc[0, [*votes]] = ["", "-1", ""]
    path, out, rated = (tmp_path / n for n in ("a.csv", "a.cleaned.csv", "who.csv"))
    model, again = tmp_path / "model", tmp_path / "report.html"
    command = ["clean", write(frame, path), "--label", "vote *", "--annotators", rated]
    command += ["--missing-label", "-1", "--model-out", model]
    assert run(*command, "--dry-run") == 0
    said = parse_summary(capsys.readouterr().out)
    assert said["labels"] == "columns 'vote a', 'vote [b]', 'vote c'"
    assert said["rows"] == "120 (1 without a label, 0 without text)"
    assert run(*command) == 0
    assert parse_summary(capsys.readouterr().out)["annotators"] == str(rated)
    clf = make_quick(SimpleNamespace(seed=0, quiet=True))
    clf.fit(frame["Body"], votes=frame[[*votes]].replace({"": None, "-1": None}))
    found = read(out)
    assert found.columns.tolist() == [*frame.columns, "label_given", *NEW]
    given = clf.classes_[clf._targets.codes].astype(object)
    assert_array_equal(found["label_given"], ["", *given[1:]])
    assert_array_equal(found["label_corrected"], clf.transduction_)
    expected = clf.annotator_quality().reset_index().round(3)
    pd.testing.assert_frame_equal(pd.read_csv(rated), expected, check_dtype=False)
    assert expected["annotator"].tolist() == [*votes]
    # The report says the same, later, too.
    assert run("report", model, path, "--out", again, "--quiet") == 0
    assert '<th scope="row">vote [b]</th>' in again.read_text()
    # Names may be given one by one.
    command = ["check", path, *(f"--label={name}" for name in votes)]
    command += ["--missing-label", "-1", "--quiet"]
    assert run(*command) == 0
    checked = read(tmp_path / "a.check.csv")
    rows = checked["row"].astype(int)
    assert_array_equal(checked["given"], found["label_given"][rows])
    said = fail(capsys, *command, "--force", "--verified", "vote [b]")
    assert "--verified and --label are both 'vote [b]'" in said
    write(frame.assign(label_given=""), path)
    said = fail(capsys, "clean", *command[1:], "--force")
    assert "already has a column 'label_given'" in said
    # Where all but one are empty, there is nothing to tell apart.
    write(frame.assign(**{"vote a": "", "vote c": ""}), path)
    said = fail(capsys, "clean", *command[1:], "--force", "--annotators", rated)
    assert "--annotators needs labels in several columns" in said
    assert run("clean", *command[1:], "--force") == 0


def test_new_labels_are_tried_before_the_training(tickets, capsys, monkeypatch):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    path, out = tickets.with_name("check.csv"), tickets.with_name("out.xlsx")
    path.write_text("row,verified\n1,pet\x07\n")
    command = ["clean", tickets, "--verified", path, "--out", out]
    assert "out.xlsx cannot hold the table" in fail(capsys, *command)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("row,verified\n120,pet\n", "check.csv: '120' is no row of"),
        ("row,verified\n1,pet\n1,pet\n", "two labels for row 1"),
        ("row,verified\n1,\n", "nothing is verified there"),
        ("row,verified\n1,fruit\n7,?\n", "check.csv: '?' in row 7 is no class"),
        ("row,verified\n1,N/A\n", "leave the cell empty, or pass --missing-label N/A"),
        ("row,label\n1,pet\n", "'verified' is no column of"),
        ("row,verified,probability\n1,pet,2\n", "'2' is no probability"),
        ("row,text,verified\n1,other,pet\n", "row 1 has another text now"),
        ("row,text,verified\n2,,pet\n1,other,pet\n", "row 1 has another text now"),
        ("TAG", "--verified and --label are both 'TAG'"),
        ("none.csv", "--verified is no file, and 'none.csv' is no column of"),
    ],
)
def test_errors_of_verified_labels(tickets, content, message, capsys, monkeypatch):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    path = tickets.with_name("check.csv")
    path.write_text(content)
    source = path if "\n" in content else content
    assert message in fail(capsys, "clean", tickets, "--verified", source)


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"y": "ab", "body": "cd", "long": ["x" * 9] * 2}, "body", "y"),
        ({"Title": "ab", "Body": "cd", "Category": "ef"}, "Body", "Category"),
        ({"Tag": "ab", "a": ["1" * 9] * 2, "b": ["xx", ""], "c": "zz"}, "b", "Tag"),
    ],
)
def test_dry_run(tmp_path, tiny_model, columns, text, label, capsys, monkeypatch):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    monkeypatch.setattr(_training, "estimate_seconds", lambda stage, texts: 4000)
    frame = pd.DataFrame({name: list(cells) for name, cells in columns.items()})
    path = write(frame, tmp_path / "a.csv")
    command = ["clean", path, "--model", tiny_model, "--fast", "--dry-run", "--quiet"]
    assert run(*command) == 0
    out, err = capsys.readouterr()
    assert err == "skdygen: trying on a few texts how long it will take ...\n"
    said = parse_summary(out)
    assert said["texts"] == f"column {text!r} of {path}"
    assert said["labels"] == f"column {label!r}"
    assert said["training"].startswith("LanguageModelDynamics(")
    assert said["time needed"] == "about 67 min, as tried here"
    assert said["dry run"] == "nothing was done"
    assert names_in(tmp_path) == ["a.csv"]
    assert run(*(word for word in command if word != "--fast")) == 0
    said = parse_summary(capsys.readouterr().out)["time needed"]
    assert said == "about 67 min, as tried here; --fast takes less"


def inspect(frame, path, capsys):
    """Give what is found in a table, as lists of lines, and what `clean` says of it."""
    assert run("inspect", write(frame, path)) == 0
    found, name = {}, None
    for line in capsys.readouterr().out.splitlines():
        name = line[:26].strip() or name
        found.setdefault(name, []).append(line[26:])
    assert names_in(path.parent) == [path.name]
    return found


def test_inspect(word_texts, quick, tmp_path, capsys):
    texts, labels = word_texts[0], word_texts[1].astype(object)
    frame = pd.DataFrame({"id": "x", "text": texts, "label": labels})
    path = tmp_path / "a.csv"
    few = ["texts", "labels", "rows", "classes"]
    clean_table = inspect(frame, path, capsys)
    assert [*clean_table] == [*few, "findings"]
    frame.loc[20:22, ["text", "label"]] = ["a pear", "fruit"]
    frame.loc[21, "text"] = " A  pear"
    frame.loc[[3, 4, 5, 6], "label"] = ["Fruit ", "FRUIT", "N/A", " - "]
    frame.loc[[10, 11, 12], "text"] = ["twice  as much", "twice as much", "  "]
    frame.loc[[10, 11, 12], "label"] = ["fruit", "animal", "rare"]
    frame.loc[13] = ["", " ", ""]
    found = inspect(frame, path, capsys)
    n = (frame["label"] == "fruit").sum()
    expected = {
        "classes written alike": [
            "3, of what may be 1",
            f"'fruit' ({n}), 'Fruit ' (1), 'FRUIT' (1, row 4)",
            "--normalize-labels merges them",
        ],
        "labels like none": [
            "2",
            "'N/A' (1), ' - ' (1, row 6)",
            "--missing-label N/A --missing-label ' - ', if they mean no label",
        ],
        "texts with other labels": [
            "2 rows, of 1 different texts",
            "'fruit' (row 10) and 'animal' (row 11): 'twice  as much'",
            ANY,
        ],
        "texts that are there twice": [
            "3 rows, of 1 different texts",
            "rows 20 and 21: 'a pear'",
            ANY,
        ],
        "empty rows": ["1", "row 13", ANY],
        "labels without text": ["1", "row 12", ANY],
        "rare classes": ["5 of 7 have less than 5 labels", ANY, ANY],
    }
    assert found.items() >= expected.items()
    assert len(found) == len(expected) + 5
    assert "row 0 is row 2 of a spreadsheet" in found["rows are counted"][0]
    missing = ["--missing-label", "N/A", "--missing-label", "n.n.", "--missing-label="]
    assert run("inspect", path, *missing) == 0
    said = parse_summary(capsys.readouterr().out)
    assert said["--missing-label"] == "no label is 'n.n.'"
    # The same is said before a training, but for examples.
    assert run("clean", path, "--dry-run") == 0
    said = parse_summary(capsys.readouterr().out)
    for name, (count, _, remedy) in expected.items():
        assert said[name].startswith(count)
        assert remedy == ANY or said[name] == f"{count}; {remedy}"
    assert said["examples of these"].startswith(f"skdygen inspect {path}, with")
    assert run("clean", path, "--quiet") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("columns", "name", "problem"),
    [
        ({"label": range(60)}, "column of labels", "'label' has 60 classes in 60"),
        ({"label": [i / 8 for i in range(60)]}, "column of labels", "decimals"),
        ({"label": ["a"] * 60}, "column of labels", "'label' has one class only"),
        ({"label": ["", None] * 30}, "column of labels", "no label at all"),
        ({"text": range(60)}, "column of texts", "'text' has numbers only"),
        ({"text": ["a b", "c d"] * 30}, "column of texts", "2 different texts"),
        ({"text": [f"t{i}" for i in range(60)]}, "column of texts", "ids has"),
    ],
)  # fmt: skip
def test_inspect_columns(columns, name, problem, tmp_path, capsys):
    texts = [f"this is text {i}" for i in range(60)]
    columns = {"text": texts, "label": [0, 1] * 30, "team": ["a", "b"] * 30} | columns
    found = inspect(pd.DataFrame(columns), tmp_path / "a.csv", capsys)
    assert problem in found[name][0]
    if name == "column of labels":
        assert found[name][2] == "--label names another: 'team' (2 classes)"


def test_inspect_what_cannot_be_fitted(tmp_path, capsys):
    # Labels of two types, and some that are none.
    rows = [{"text": f"it is {i}", "y": 1 if i % 2 else "1.0"} for i in range(20)]
    rows += [{"text": None, "y": [1]}, {"text": 7, "y": None}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert run("inspect", path) == 0
    said = parse_summary(capsys.readouterr().out)
    assert said["labels of two types"] == "1 of 3 classes"
    assert said["labels that are none"] == "1, such as a list"
    assert said["classes written alike"] == "2, of what may be 1"
    # Of several label columns, those of one text may differ.
    pd.DataFrame({"text": ["a b"] * 9, "r1": [*"xy"] * 4 + ["x"], "r2": "x"}).to_csv(
        tmp_path / "b.csv", index=False
    )
    assert run("inspect", tmp_path / "b.csv", "--label", "r*") == 0
    assert "with other labels" not in capsys.readouterr().out
    path.write_text("text;label;n;n\na;b;1,5;\n")
    assert run("inspect", path.rename(tmp_path / "a.csv")) == 0
    said = parse_summary(capsys.readouterr().out)
    assert said["columns of one name"] == "1"
    assert said["separator"] == "';', which is not what the name says"


def test_texts_that_are_numbers_in_a_spreadsheet(word_texts, quick, tmp_path, capsys):
    path = tmp_path / "a.xlsx"
    frame = pd.DataFrame({"notes": word_texts[0], "label": word_texts[1]}, dtype=object)
    frame.loc[[0, 1], "notes"] = [2024, 1.5]
    frame.to_excel(path, index=False)
    assert run("inspect", path) == 0
    assert parse_summary(capsys.readouterr().out)["texts"].startswith("column 'notes'")
    model = tmp_path / "a.skops"
    assert run("clean", path, "--model-out", model, "--quiet") == 0
    assert run("predict", model, path, "--quiet") == 0
    for word in ("cleaned", "predicted"):
        found = pd.read_excel(tmp_path / f"a.{word}.xlsx")["notes"].tolist()
        assert found[:2] == [2024, 1.5]


def test_inspect_refuses_what_clean_refuses(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": ["a"], "y": 0}\n{"text": "b", "y": 1}')
    said = fail(capsys, "inspect", path)
    assert "'text' must hold strings, but row 0 is ['a'] (list)" in said


def test_normalize_labels(word_texts, quick, tmp_path, capsys):
    texts, labels = word_texts[0], np.where(word_texts[1] == "fruit", "Sci-Fi", "C++")
    frame = pd.DataFrame({"text": texts, "label": labels.astype(object)})
    odd = ["sci fi", "SCIFI ", "c++", "C#", "C#"]
    frame.loc[:4, "label"] = odd
    path, checked = tmp_path / "a.csv", tmp_path / "b.csv"
    write(pd.DataFrame({"row": [0, 9], "verified": ["sci_fi", "c#"]}), checked)
    command = ["clean", write(frame, path), "--verified", checked]
    assert run(*command, "--normalize-labels") == 0
    said, found = (
        parse_summary(capsys.readouterr().out),
        read(tmp_path / "a.cleaned.csv"),
    )
    assert (
        said["labels merged"]
        == "'sci fi' (1), 'SCIFI ' (1) to 'Sci-Fi'; 'c++' (1) to 'C++'"
    )
    assert "classes written alike" not in said
    assert said["labels verified"] == "2"
    assert found["label"][:5].tolist() == odd
    assert {*found["label_suggested"]} <= {"Sci-Fi", "C++", "C#"}
    assert found["label_corrected"][[0, 9]].tolist() == ["Sci-Fi", "C#"]
    # All becomes strings if there are numbers and strings.
    frame = frame.assign(label=[1 if x == "C++" else 2 for x in labels]).astype(object)
    frame.loc[[0, 1], "label"] = ["1.0", " 2"]
    path = tmp_path / "b.jsonl"
    frame.to_json(path, orient="records", lines=True)
    said = fail(capsys, "clean", path)
    assert re.search(r"'label': labels of two types, beside [12]: '1.0' \(1\), ", said)
    assert "; --normalize-labels makes all of them strings. (Rows" in said
    assert run("clean", path, "--normalize-labels") == 0
    classes = parse_summary(capsys.readouterr().out)["classes"]
    assert sorted(classes.split()[1::2]) == ["1", "2"]


@pytest.mark.parametrize(
    ("labels", "n_classes"),
    [
        (["World", "world ", " WORLD.", "'World'", "w\u200aorld"], 1),
        (["3", "3.0", "3,00", "03", " 3", "3."], 1),
        (["not spam", "not-spam", "NotSpam", "not_spam", "not/spam"], 1),
        (["caf\u00e9", "cafe\u0301"], 1),
        (["1", "-1", "1.5", "15", "1,000"], 5),
        (["A", "A-", "A+", "C", "C++", "C#"], 6),
        (["1-2", "12", "1.2.3", "123"], 4),
        (["?", "!", "..."], 3),
    ],
)  # fmt: skip
def test_which_labels_are_written_alike(labels, n_classes):
    write_alike, _ = _inspect.merge_spellings({"y": labels})
    assert len({*map(write_alike, labels)}) == n_classes


def test_progress_is_shown_on_stderr(tickets, quick, tmp_path, capfd, monkeypatch):
    model = tmp_path / "model.skops"
    command = ["clean", tickets, "--model-out", model, "--force"]
    assert run(*command) == 0
    assert capfd.readouterr().err == ""  # a bar is for terminals
    monkeypatch.setattr(_terminal._Patient, "isatty", lambda self: True, raising=False)
    assert run(*command) == 0
    out, err = capfd.readouterr()
    assert ("denoising" in err, "denoising" in out) == (True, False)
    assert run("predict", model, tickets) == 0
    assert f"reading {model} ...\n" in capfd.readouterr().err
    assert run("predict", model, tickets, "--force", "--quiet") == 0
    assert capfd.readouterr() == ("", "")
    # The model that was kept shows none when it is used in Python.
    load(model).fit(["a cat", "a dog", "an apple", "a plum"] * 2, [0, 0, 1, 1] * 2)
    assert capfd.readouterr() == ("", "")


def test_a_fit_is_resumed(tickets, tiny_model, tmp_path, capfd, monkeypatch):
    command = ["clean", tickets, "--model", tiny_model, "--epochs", "3", "--resume"]
    stop = Mock(side_effect=[None, KeyboardInterrupt])
    with monkeypatch.context() as patch:
        patch.setattr(_engine, "_check_finite", stop)
        assert run(*command) == 130
    out, err = capfd.readouterr()
    lines = err.strip().splitlines()
    assert lines[0].startswith("skdygen: fine-tuning 2 branches of")
    assert lines[1].startswith("skdygen: epoch 1 of 3: loss ")
    goes_on = "interrupted; the same command goes on after the last whole epoch"
    assert lines[2:] == ["", f"skdygen: {goes_on}"]
    assert names_in(tmp_path) == ["tickets.cleaned.epochs", "tickets.csv"]
    # In a terminal, too, it is said where it goes on; of few texts, no time.
    with monkeypatch.context() as patch:
        patch.setattr(_terminal._Patient, "isatty", lambda self: True, raising=False)
        assert run(*command) == 0
    out, err = capfd.readouterr()
    assert "resuming after epoch 1, from " in err
    assert "skdygen: epoch" not in err
    assert "time needed" not in out
    assert names_in(tmp_path) == [CLEANED, "tickets.csv"]
    resumed = read(tmp_path / CLEANED)
    # The folder of --cache has it, if there is one; of more texts the time is said.
    monkeypatch.setattr(_training, "estimate_seconds", lambda stage, texts: 100)
    monkeypatch.setattr(_fit, "_WORTH_AN_ESTIMATE", 120)
    made = Mock(side_effect=_checkpoint.Checkpoint)
    monkeypatch.setattr(_engine, "Checkpoint", made)
    cache = tmp_path / "cache"
    assert run(*command, "--force", "--cache", cache) == 0
    said = parse_summary(capfd.readouterr().out)
    assert (
        said["time needed"] == "about 1.7 min, as tried here, if nothing is in --cache"
    )
    assert made.call_args.args[0] == cache / "epochs"
    assert "epochs" not in names_in(cache)
    pd.testing.assert_frame_equal(read(tmp_path / CLEANED), resumed)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (34, "30 s"), (89, "90 s"), (100, "1.7 min"), (5000, "83 min"),
     (6000, "1.7 h"), (400_000, "110 h")],
)  # fmt: skip
def test_an_estimate_is_named(seconds, said):
    assert _training.name_seconds(seconds) == said


@pytest.mark.parametrize("tool", ["label-studio", "argilla"])
def test_tasks_of_a_fit_that_can_be_resumed(tool, tickets, tiny_model, tmp_path):
    command = ["check", tickets, "--model", tiny_model, "--epochs", 1, "--quiet"]
    assert run(*command, "--resume", "--format", tool) == 0
    assert "tickets.check.json" in names_in(tmp_path)
    assert "tickets.check.epochs" not in names_in(tmp_path)


def test_an_estimate(tiny_model, monkeypatch):
    clock, seen = [0.0], []

    def fit_transform(self, X, y):
        seen.extend(X)
        assert len({*y}) == 2
        clock[0] += 5 + len(X) * (0.25 + self.n_epochs * 0.125)

    monkeypatch.setattr(LanguageModelDynamics, "fit_transform", fit_transform)
    monkeypatch.setattr(_training, "perf_counter", lambda: clock[0])
    stage = LanguageModelDynamics(tiny_model, n_epochs=7, random_state=3)
    texts = ["a" * (i % 100) for i in range(1000)]
    found = _training.estimate_seconds(stage, texts)
    # What the few texts of the shortest fit take is counted twice.
    expected = 5 + 1000 * (0.25 + 7 * 0.125) + 8 * 0.375
    assert found == pytest.approx(1.1 * expected)
    assert np.mean([*map(len, seen)]) == pytest.approx(49.5, abs=1)
    assert _training.estimate_seconds(IncrementalDynamics(), texts) is None


def test_nothing_is_replaced_without_force(tickets, quick, tmp_path, capsys):
    out, model = tmp_path / "tickets.cleaned.csv", tmp_path / "model"
    command = ["clean", tickets, "--quiet", "--model-out", model]
    out.write_text("mine")
    assert f"{out}: it exists; pass --force" in fail(capsys, *command)
    assert (out.read_text(), model.exists()) == ("mine", False)
    assert run(*command, "--force") == 0
    assert out.read_text() != "mine"
    out.unlink()
    assert f"{model}: it exists; pass --force" in fail(capsys, *command)
    assert run(*command, "--force") == 0
    # Other files and folders never are.
    model.write_text("mine")
    assert "model: it is no saved model" in fail(capsys, *command, "--force")
    model.unlink()
    model.mkdir()
    assert "model: it is a folder" in fail(capsys, *command, "--force")


@pytest.mark.skipif(sys.platform == "win32", reason="has other links and pipes")
def test_links_are_followed(tickets, quick, tmp_path, capsys):
    model, folder = tmp_path / "model", tmp_path / "none"
    command = ["clean", tickets, "--quiet", "--force", "--model-out", model]
    os.mkfifo(model)
    assert "model: it is no file" in fail(capsys, *command)
    model.unlink()
    model.symlink_to(folder / "model")
    assert f"there is no folder {folder}" in fail(capsys, *command)
    folder.mkdir()
    assert run(*command) == 0
    assert model.is_symlink()
    assert names_in(folder) == ["model"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out {}/none/a.csv", "a.csv: there is no folder {}/none; make it first"),
        ("--out {}/a.xls", "a.xls is no table by its name; use one in .csv"),
        ("--out {}/tickets.csv --force", "tickets.csv: it is read or written already"),
        ("--out {0}/a.csv --model-out {0}/a.csv", "it is read or written already"),
        ("--report {}/a.pdf", "a.pdf: the report is HTML"),
        ("--text bdy", "--text 'bdy' is no column of {}/tickets.csv; it has ['id', "),
        ("--label tag", "--label 'tag' is no column of {}/tickets.csv; it has ['id', "),
        ("--label r_*", "--label 'r_*' is no column of {}/tickets.csv; it has ['id', "),
        ("--label id --label TAG --text TAG", "--text and --label are both 'TAG'"),
        ("--annotators {}/a.csv", "--annotators needs labels in several columns"),
        ("--annotators {}/a.txt", "a.txt is no table by its name"),
        ("--out {0}/a.csv --annotators {0}/a.csv", "it is read or written already"),
        ("--text TAG", "--text and --label are both 'TAG'"),
        ("--id id", "--id and --show are for the report; name it with --report"),
        ("--report {}/a.html --show no", "--show 'no' is no column of {}/tickets.csv"),
        ("--quiet --model {}/none", "neither a folder nor"),
        ("--quiet --device gpu", "--device gpu cannot be used"),
        ("--quiet --device meta", "--device meta cannot be used"),
        ("--cache {}/tickets.csv/a", "{}/tickets.csv is no folder to write to"),
        ("--cache {}/tickets.csv --dry-run", "{}/tickets.csv is no folder to write to"),
    ],
)
def test_all_is_checked_before_the_training(
    tickets, tmp_path, options, message, capsys, monkeypatch
):
    monkeypatch.setattr(DyGenClassifier, "fit", None)
    said = fail(capsys, "clean", tickets, *options.format(tmp_path).split())
    assert message.format(tmp_path) in said
    assert names_in(tmp_path) == ["tickets.csv"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", None, "a.csv is no file"),
        ("a.txt", b"text,label\n", "a.txt is no table by its name"),
        ("a.csv", b"", "a.csv has no rows"),
        ("a.csv", "text,label\né,é\n".encode() + b"\xe9,b\n", "is not in UTF-8: 'utf"),
        ("a.csv", b"text,label\n\x81,b\n", "'utf-8' codec can't decode byte 0x81"),
        ("a.csv", "text,label\na,b\n".encode("utf-16-le"), "say --encoding utf-16"),
        ("a.jsonl", b'{"text": "\xe9"}', "not in UTF-8: 'utf-8' codec can't decode"),
        ("a.csv.gz", b"text,label\n", "gz cannot be read"),
        ("a.parquet", b"text,label\n", "a.parquet cannot be read"),
        ("a.xlsx", b"text,label\n", "a.xlsx cannot be read"),
        ("a.csv", b"text,label\na,b\nno, it,b\n", "saw 3; put quotes around cells"),
        ("a.csv", b'text,label\na,"b\n', "EOF inside string starting at row 1 (Rows"),
        ("a.jsonl", b'{"text": "a"}\n{"text"', "a.jsonl cannot be read: line 2: "),
        ("a.jsonl", b"[1]\n", "line 1: it is no JSON object"),
        ("a.jsonl", b'{"x": 1}\n{"x": 1e400}', "line 2: the number 1e400 cannot be"),
        (
            "a.jsonl",
            b'{"x": [0.12345678901234567890]}',
            "number 0.12345678901234567890",
        ),
        ("a.jsonl", b'{"x": 1}\n{"x": [NaN]}', "line 2: NaN is no JSON; write null"),
        ("a.jsonl", b'{"x": -Infinity}', "line 1: -Infinity is no JSON; write null"),
        ("a.jsonl", b'{"x": {"y": 1, "y": 2}}', "the key 'y' stands twice; rename one"),
        ("a.csv", b"text,tag,CLASS\na,b,c\n", "may hold labels, ['tag', 'CLASS']"),
        (
            "a.csv",
            b"text,kind\na,b\n",
            "name one with --label. It has ['text', 'kind'].",
        ),
        ("a.csv", b"id,label\n1,b\n", "--text. It has ['id', 'label']."),
        ("a.csv", b"text,y,y\na,b,c\n", "may hold labels, ['y', 'y.1']; name one"),
        (
            "a.csv",
            b"text,y,is_issue\na,b,c\na,d,c\n",
            "already has a column 'is_issue'",
        ),
        ("a.jsonl", b'{"text": [], "y": 0}\n{"text": ""}', "'text' must hold strings"),
        (
            "a.jsonl",
            b'{"text": "", "y": 1}\n{"text": "", "y": "0"}',
            "--normalize-labels makes all",
        ),
        (
            "a.jsonl",
            rb'{"text": "", "y": "\ud800"}',
            "'y' has a label that is no valid",
        ),
    ],
)
def test_errors_of_tables(tmp_path, name, content, message, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said = fail(capsys, "clean", tmp_path / name, "--dry-run")
    assert message in said
    assert str(tmp_path / name) in said or "olumn" in said


@pytest.mark.parametrize("command", [["clean"], ["check"], ["predict", "a.skops"]])
def test_names_are_checked_before_a_table_is_read(command, tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_bytes(b"")
    said = fail(capsys, *command, path, "--out", tmp_path / "b.txt")
    assert "b.txt is no table by its name" in said


def test_errors_of_a_fit_are_one_line(tickets, quick, capsys, monkeypatch):
    fit = Mock(side_effect=ValueError("temp_folder is full;\n  empty it."))
    monkeypatch.setattr(DyGenClassifier, "fit", fit)
    command = ["clean", tickets, "--quiet"]
    said = fail(capsys, *command)
    assert said == "skdygen: error: temp_folder is full; empty it.\n"
    with pytest.raises(ValueError, match="temp_folder is full"):
        run(*command, "--debug")
    fit.side_effect = KeyError("a bug")
    with pytest.raises(KeyError, match="a bug"):
        run(*command)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such names of files")
def test_no_terminal_obeys_a_name(table, quick, tmp_path, capsys):
    evil = "pet\x1b]0;title\x07\x9b2J\u202e\nlabels corrected"
    named = "b\x1b[2J.csv"
    frame = table.assign(TAG=table["TAG"].replace("animal", evil))
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    command = ["clean", tmp_path / "a.jsonl", "--out", tmp_path / named]
    assert run(*command, "--dry-run") == 0
    assert run(*command) == 0
    assert run("check", *command[1:-1], tmp_path / f"c{named}") == 0
    assert run(*command) == 1
    said = "".join(capsys.readouterr())
    assert r"pet\x1b]0;title\x07\x9b2J\u202e\nla ... (6" in said
    assert said.count(r"b\x1b[2J.csv") == 4
    said = said.replace("\r", "")  # of progress bars
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]", said)


@pytest.mark.skipif(sys.platform == "win32", reason="has other pipes")
@pytest.mark.parametrize("streams", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_nobody_reads_what_is_said(streams, tickets, quick, tmp_path, monkeypatch):
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as closed:
        for name in streams:
            monkeypatch.setattr(sys, name, closed)
        assert run("clean", tickets) == 0
        assert run("clean", tickets) == 1  # it exists
    assert names_in(tmp_path) == [CLEANED, "tickets.csv"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters(
    encoding, table, quick, tmp_path, monkeypatch
):
    path, said = tmp_path / "动物.csv", io.BytesIO()
    write(table.assign(TAG=table["TAG"].replace("animal", "动物")), path)
    stream = io.TextIOWrapper(said, encoding)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    assert run("clean", path, "--dry-run") == 0
    assert run("clean", path, "--text", "动物") == 1
    assert run("clean", "--help") == 0  # it has bullets
    stream.flush()
    assert b"label_suggested" in said.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="ends a process with no more ado")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_the_command(name, tickets, quick, capsys, monkeypatch):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # it may be ignored, as by nohup

    def dump(path):
        path.write_text("half of it")
        os.kill(os.getpid(), number)
        path.write_text("all of it")

    monkeypatch.setattr(_tables, "_encode", lambda table, path: b"")
    monkeypatch.setattr(Path, "write_bytes", lambda path, _: dump(path))
    try:
        assert run("clean", tickets, "--quiet") == 128 + number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "\nskdygen: interrupted\n"
    assert names_in(tickets.parent) == ["tickets.csv"]


def test_what_can_be_written_is_not_lost(tickets, quick, tmp_path, capsys, monkeypatch):
    full = Mock(side_effect=OSError("the disk is full"))
    monkeypatch.setattr(_commands, "write_table", full)
    model = tmp_path / "model"
    said = fail(capsys, "clean", tickets, "--quiet", "--model-out", model)
    assert "tickets.cleaned.csv was not written: the disk is full" in said
    assert load(model).predict(["a cat"]).shape == (1,)
    said = fail(capsys, "check", tickets, "--quiet", "--fit-out", tmp_path / "fit")
    assert "tickets.check.csv was not written: the disk is full" in said
    assert hasattr(load(tmp_path / "fit"), "trajectories_")


def test_predict(model, tmp_path, capsys):
    texts = [*make_word_texts(30, seed=1)[0], ""]
    path = write(pd.DataFrame({"n": "01", "message": texts}), tmp_path / "new.csv")
    command = ["predict", model, path, "--text", "message"]
    assert run(*command, "--device", "cpu") == 0
    found = read(tmp_path / "new.predicted.csv")
    assert found.columns.tolist() == ["n", "message", "label_predicted", "confidence"]
    assert_array_equal(found["n"], "01")
    clf = load(model)
    assert_array_equal(found["label_predicted"], clf.predict(texts))
    expected = clf.predict_proba(texts).max(axis=1).round(3)
    assert_allclose(found["confidence"].astype(float), expected, rtol=1e-12)
    assert "31 texts of column 'message'" in capsys.readouterr().out
    assert "exists; pass --force" in fail(capsys, *command)
    assert run(*command, "--force", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    command[2] = tmp_path / "new.predicted.csv"
    assert "already has a column 'label_predicted'" in fail(capsys, *command)
    clf.classes_ = np.array(["animal", "fruit\x07"])
    clf.save(model, overwrite=True)
    command = [*command[:2], path, "--text", "message", "--out", tmp_path / "a.xlsx"]
    assert "a.xlsx cannot hold the table" in fail(capsys, *command)
    for other in (DyGenClassifier(), LanguageModelDynamics()):
        other.save(model, overwrite=True)
        assert "no DyGenClassifier that is fitted" in fail(capsys, *command)
    model.unlink()
    assert f"No such file or directory: '{model}'" in fail(capsys, *command)


def test_columns_and_rows_are_those_of_the_fit(
    table, quick, write_report, tmp_path, capsys
):
    # The names that are guessed, text and label, are those of other columns here.
    renamed = {"Body": "subject", "TAG": "team"}
    frame = table.rename(columns=renamed).assign(text="a cat", label="x")
    path, model = write(frame, tmp_path / "a.csv"), tmp_path / "model"
    command = ["clean", path, "--text", "subject", "--label", "team", "--quiet"]
    assert run(*command, "--model-out", model) == 0
    assert run("predict", model, path) == 0
    assert "texts of column 'subject'" in capsys.readouterr().out
    out = tmp_path / "a.html"
    assert run("report", model, path, "--out", out, "--force") == 0
    assert "report on 120 texts of column 'subject'" in capsys.readouterr().out
    title = "Label report: a.csv"
    write_report.assert_called_with(
        ANY, out, list(frame["subject"]), overwrite=True, first_row=2, title=title
    )
    said = fail(capsys, "predict", model, write(frame[["text"]], path), "--force")
    assert "the model's column, but 'subject' is no column of" in said
    # A model that was saved by hand names no column.
    clf = load(model)
    del clf._text_column
    clf.save(model, overwrite=True)
    assert run("predict", model, path, "--force") == 0
    assert "texts of column 'text'" in capsys.readouterr().out


def test_what_a_report_shows(tickets, quick, tmp_path, monkeypatch):
    """Ids and columns of the table; and no text is encoded twice for it."""
    report, model = tmp_path / "report.html", tmp_path / "model"
    encode = Mock(side_effect=AssertionError)
    monkeypatch.setattr(IncrementalDynamics, "transform", encode)
    monkeypatch.setattr(_html_report, "_draw", lambda *_: [])  # it takes seconds
    command = ["clean", tickets, "--report", report, "--quiet", "--force"]
    command += ["--model-out", model, "--id", "id", "--show", "", "--show", "am*"]
    assert run(*command) == 0
    assert not hasattr(load(model), "trajectories_")  # which would make it large
    (data,) = re.findall('id="data">(.*?)</script>', report.read_text("utf-8"))
    (first, *_), frame = json.loads(data)["rows"], read(tickets)
    row = frame.iloc[first["index"]]
    assert (first["id"], json.loads(data)["firstRow"]) == (row["id"], 2)
    assert first["shown"] == [["", row.iloc[1]], ["amount", "1.10"]]


def test_what_is_not_installed_is_named(tickets, monkeypatch, capsys):
    for name in [n for n in sys.modules if n.startswith("pyarrow")] or ["pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    (here := tickets.with_suffix(".parquet")).touch()
    for arguments in (
        ["inspect", here],
        ["clean", tickets, "--out", f"{here}.parquet"],
    ):
        said = fail(capsys, *arguments)
        assert said.endswith(".parquet needs pyarrow: python -m pip install pyarrow.\n")


def test_demo(write_report, tmp_path, capsys):
    report = tmp_path / "report.html"
    options = SimpleNamespace(seed=0, report=report, force=False)
    stages = {"dynamics": IncrementalDynamics(n_epochs=5), "denoiser": DirichletVAE(1)}
    _commands.demo(options, **stages)
    out, _, checked = capsys.readouterr().out.partition("has checked fifty labels")
    shares, after = parse_summary(out), parse_summary(checked)
    for name in ("accuracy, DyGen", "right labels, corrected"):
        assert float(after[name]) >= float(shares[name]) - 0.05
    assert "% (95% interval: " in after["labels estimated wrong"]
    assert checked.rstrip().endswith("--verified tickets.check.csv")
    assert float(shares["right labels, given"]) == pytest.approx(0.7)
    assert float(shares["accuracy, DyGen"]) > 0.6
    listed = out[out.index("most suspicious labels") :].splitlines()[2:13]
    names = ["index", "given", "suggested", "true", "confidence", "quality", "text"]
    assert listed[0].split() == names
    assert all(line.split()[0].isdigit() for line in listed[1:])
    write_report.assert_called_once()
    report.write_text("mine")
    assert "pass --force" in fail(capsys, "demo", "--report", report)


def test_the_demo_is_not_silent(tiny_model, capfd):
    options = SimpleNamespace(seed=0, report=None, force=False)
    dynamics = LanguageModelDynamics(tiny_model, n_epochs=1, trainable_layers=0)
    others = {"prior": UniformPrior(), "denoiser": TransitionMatrixDenoiser()}
    _commands.demo(options, dynamics=dynamics, **others)
    assert "\nskdygen: epoch 1 of 1: loss " in capfd.readouterr().err


@pytest.mark.long
def test_all_commands_with_a_language_model(tickets, tiny_model, tmp_path, capfd):
    model, report = tmp_path / "model.skops", tmp_path / "report.html"
    command = ["clean", tickets, "--model", tiny_model, "--fast", "--epochs", "2"]
    assert run(*command, "--report", report, "--model-out", model) == 0
    assert "training heads for 2 branches" in capfd.readouterr().err
    again = tmp_path / "again.html"
    assert run("report", model, tickets, "--out", again, "--quiet") == 0
    assert again.stat().st_size == pytest.approx(report.stat().st_size, rel=0.01)
    assert run("predict", model, tickets, "--device", "cpu", "--quiet") == 0
    assert capfd.readouterr() == ("", "")
    found = read(tmp_path / "tickets.predicted.csv")
    assert_array_equal(found["label_predicted"], load(model).predict(found["Body"]))
    # What has been trained to choose labels is not trained again.
    command = [*command[1:], "--cache", tmp_path / "cache"]
    assert run("check", *command) == 0
    path = tmp_path / "tickets.check.csv"
    write(read(path).assign(verified="pet"), path)
    assert "training heads for 2 branches" in capfd.readouterr().err
    assert run("clean", *command, "--verified", path, "--force") == 0
    assert "branches of" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, "", ["Usage: skdygen", "predict", "Exit codes"]),
        (2, "wash", ["No such command 'wash'"]),
        (2, "clean a.csv --epochs 0", ["--epochs"]),
        (2, "report model a.csv", ["Missing option '--out'"]),
        (0, "clean -h", ["label_suggested", "is_issue", "--dry-run", "--fast"]),
        (0, "check -h", ["verified", "--n", "pickles", "uncertain"]),
        (2, "check a.csv --strategy best", ["--strategy", "best", "random"]),
        (0, "--version", ["skdygen 0."]),
    ],
)
def test_usage_and_help(code, arguments, words, capsys):
    assert run(*arguments.split()) == code
    said = re.sub(r"\x1b\[[\d;]*m", "", "".join(capsys.readouterr()))
    assert all(word in said for word in words)


def test_help_waits_for_nothing():
    command = [sys.executable, "-X", "importtime", "-m", "skdygen", "clean", "--help"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "--missing-label" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint({"numpy", "pandas", "sklearn", "torch", "tqdm"})
