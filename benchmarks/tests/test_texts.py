"""Real texts by the form of the files that they are in, on made ones."""

import gettext
import struct
from argparse import Namespace

import pytest

from benchmarks import performance, scaling
from benchmarks.texts import glosses, messages
from skdygen import DyGenClassifier
from skdygen.datasets import make_texts
from skdygen.dynamics import LanguageModelDynamics

LICENCE = "  1 This software and database is being provided to you | as it is.\n"
LINE = "{:08} {} n 01 thing 0 001 @ 00001740 n 0000 | {}  \n"


def write_glosses(folder, texts, classes):
    """Write texts as WordNet's are, in two files."""
    folder = folder / "usr" / "share" / "wordnet"
    folder.mkdir(parents=True)
    lines = [
        LINE.format(row, code, text)
        for row, (text, code) in enumerate(zip(texts, classes, strict=True))
    ]
    (folder / "data.noun").write_text(LICENCE + "".join(lines[::2]))
    (folder / "data.verb").write_text(LICENCE + "".join(lines[1::2]))


def write_catalogue(path, translated):
    """Write translations by their originals as a .mo file."""
    head, body = 28, b""
    columns = [translated.keys(), translated.values()]
    start, tables = head + 16 * len(translated), []
    for text in (text.encode() for column in columns for text in column):
        tables += [len(text), start + len(body)]
        body += text + b"\0"
    n, tables = len(translated), struct.pack(f"<{len(tables)}I", *tables)
    first = struct.pack("<7I", 0x950412DE, 0, n, head, head + 8 * n, 0, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(first + tables + body)


def test_glosses(tmp_path):
    texts = ["a living thing", 'to move; "they | moved"', "of several files", "small"]
    write_glosses(
        tmp_path, [*texts, "of several files"], ["03", "38", "04", "00", "05"]
    )
    found = dict(zip(*glosses(tmp_path), strict=True))
    assert found == {texts[0]: "03", texts[1]: "38", "small": "00"}


def test_messages(tmp_path):
    head = "Content-Type: text/plain; charset=UTF-8\n"
    head += "Plural-Forms: nplurals=2; plural=n>1;\n"
    german = {"": head, "menu\4Open": "Öffnen", "Save": "Save", "%1": "%2"}
    german |= {"a page\0pages": "eine Seite\0Seiten", "menu\4Text": "Text"}
    folder = tmp_path / "usr" / "lib" / "libreoffice" / "program" / "resource"
    path = folder / "de" / "LC_MESSAGES" / "sw.mo"
    write_catalogue(path, german)
    write_catalogue(
        folder / "da" / "LC_MESSAGES" / "sw.mo",
        {"menu\4Open": "Åbn", "A page": "Seite"},
    )
    write_catalogue(folder / "nb" / "LC_MESSAGES" / "sw.mo", {"menu\4Open": "Åbn"})
    with path.open("rb") as file:
        assert gettext.GNUTranslations(file).ngettext("a page", "pages", 2) == "Seiten"
    found = dict(zip(*messages(tmp_path), strict=True))
    expected = {"Öffnen": "de", "eine Seite": "de", "Seiten": "de", "Seite": "da"}
    assert found == expected
    with pytest.raises(ValueError, match="no such texts"):
        glosses(tmp_path)


@pytest.mark.parametrize("trainable_layers", [0, 1])
def test_whole_fits_are_measured(trainable_layers, tiny_model, tmp_path, monkeypatch):
    texts, classes = make_texts(300, random_state=0)
    write_glosses(tmp_path, texts, classes)
    monkeypatch.setattr(scaling, "N_HELD_OUT", 20)
    monkeypatch.setattr(scaling, "N_VERIFIED", 10)
    stage = LanguageModelDynamics(
        tiny_model, trainable_layers=trainable_layers, n_epochs=1
    )
    clf, rows = DyGenClassifier(stage, random_state=0), []
    options = Namespace(texts=tmp_path, temp_folder=None)
    for n_texts in (40, 160):
        row = scaling.whole(clf, glosses, n_texts, options)
        assert row["given_accuracy"] == 0.7
        assert row["accuracy, most probable"] >= 0.7
        assert row["accuracy, verified corrected"] >= 0.7
        assert 0 <= row["accuracy, verified"] <= 1
        assert 0 < row["seconds, fit, encoding"] < row["seconds, fit"]
        assert 0 < row["seconds, predict, encoding"] < row["seconds, predict"]
        assert (
            0 < row["private_megabytes, before"] <= row["peak_private_megabytes, fit"]
        )
        rows.append(row | {"part": "trained texts", "n_texts": n_texts})
    page = performance.texts([rows[1], rows[0], {"part": "votes", "n_texts": 3}])
    few, many = (line for line in page.splitlines() if "three layers" in line)
    assert few.startswith("| three layers, epochs: 1 | 40 |")
    assert many.startswith("| three layers, epochs: 1 | 160 |")
    with pytest.raises(ValueError, match="20 are held out"):
        scaling.whole(clf, glosses, 300, options)


def test_how_time_grows():
    row = {
        "part": "frozen texts", "n_epochs": 5, "n_predicted": 500, "words": 9.6,
        "n_classes": 45, "seconds, predict": 1.0, "seconds, fit, encoding": 1.0,
        "peak_private_megabytes, fit": 1234.5, "given_accuracy": 0.7,
        "accuracy, corrected": 0.8, "accuracy, most probable": 0.81,
        "accuracy, plain": 0.6, "accuracy, predicted": 0.65,
    }  # fmt: skip
    rows = [row | {"n_texts": n, "seconds, fit": n**2 / 1000} for n in (10, 100, 1000)]
    page = performance.texts(
        [rows[0] | {"seconds, fit": 9.0}, *rows]
    )  # the last counts
    assert "| frozen | 1,000 | 10 | 45 | 1,000 | 1 | 2.00 | 1,234 |" in page
    assert page.endswith("to the power of 2.00 (frozen texts; 2.00 of the last two).")
    assert performance.texts([]) == "Not run yet."


@pytest.mark.long
def test_fits_on_corrected_labels_are_measured(tiny_model, tmp_path, monkeypatch):
    texts, classes = make_texts(300, random_state=0)
    write_glosses(tmp_path, texts, classes)
    monkeypatch.setattr(scaling, "N_HELD_OUT", 20)
    options = Namespace(texts=tmp_path, temp_folder=None, cache=tmp_path)
    frozen = scaling.frozen_again(160, options)
    stage = LanguageModelDynamics(tiny_model, trainable_layers=1, n_epochs=2)
    data = scaling.split(*glosses(tmp_path), 200)
    trained = scaling.again(stage, data, {"symmetric": 0.2})
    assert trained["symmetric"]["given"] == 0.8
    for found in (frozen["symmetric"], frozen["asymmetric"], trained["symmetric"]):
        assert found["corrected"] >= found["given"]
        assert found["once more"] >= found["plain"] - 0.1
    rows = [
        {"part": "trained again", "n_texts": 200} | trained,
        {"part": "frozen again", "n_texts": 160} | frozen,
    ]
    found = [(row["fit"], row["wrong"]) for row in performance.again(rows)]
    assert found == [
        ("frozen", "30%, at random"),
        ("frozen", "40%, to the next class"),
        ("three layers, epochs: 2", "20%, at random"),
    ]
