"""What measures speed and growth, on a handful of texts, and the pages of docs/."""

import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsTransformer

from benchmarks import embeddings, paired, performance, report, scaling, speed
from benchmarks.data import make_split
from benchmarks.published import fit_published
from benchmarks.run import read_rows
from skdygen._torch import seeded
from skdygen.datasets import make_texts

ROOT = Path(__file__).parents[2]


def test_ratios_are_medians_of_rounds():
    ours, theirs = "DyGenClassifier, all layers", "Trainer, once per branch"
    names = [ours, "the same in float32", theirs]
    seconds = [(1.0, 4.0, 4.0), (3.0, 4.0, 5.0), (9.0, 5.0, 10.0)]
    rounds = [dict(zip(names, of_round, strict=True)) for of_round in seconds]
    row, without_target = performance.ratios({"trainer": {"rounds": rounds}})
    assert list(row.values()) == [
        ours, "3.0", theirs, "5.0", "0.60", "at most 0.3", "missed",
    ]  # fmt: skip
    assert (without_target["ratio"], without_target["target"]) == ("0.80", "")


@pytest.mark.long
@pytest.mark.parametrize("command", [report, performance])
def test_pages_are_what_the_commands_write(command, tmp_path):
    shutil.copy(ROOT / "docs" / "index.md", tmp_path)  # one has a table in it
    command.main(["--docs", str(tmp_path)])
    assert len(list(tmp_path.glob("*.md"))) == 2
    for page in tmp_path.glob("*.md"):
        assert page.read_text() == (ROOT / "docs" / page.name).read_text()
    assert list((tmp_path / "images").glob("*.svg"))


def test_what_is_said_of_very_many_texts_follows_from_what_was_measured():
    folder = ROOT / "benchmarks" / "results" / "performance"
    speed = {row["part"]: row for row in read_rows(folder / "speed.jsonl")}
    scaling = read_rows(folder / "scaling.jsonl")
    scaling = {(row["part"], row["n_texts"]): row for row in scaling}

    def median(part, name):
        return np.median([found[name] for found in speed[part]["rounds"]])

    n, day = 1e8, 86_400
    stage_1 = scaling["stage 1", 100_000]["seconds"]
    fit = median("published", "DyGenClassifier")
    few, many = (scaling["stages 2 and 3", size] for size in (300_000, 1_000_000))
    seconds, memory = (
        (many[name] - few[name]) / 700_000
        for name in ("seconds", "peak_private_megabytes")
    )
    expected = [
        f"{stage_1:.0f} seconds for 100,000 texts | {stage_1 / 1e5 * 1e3:.1f} ms | "
        f"{stage_1 / 1e5 * n / day:.1f} days; for five epochs "
        f"{5 * stage_1 / 1e5 * n / day:.0f}",
        f"{fit:.1f} seconds for 300 texts | {fit / 300 * 1e3:.0f} ms | "
        f"{fit / 300 * n / day:.0f} days",
        f"{few['seconds']:.0f} seconds for 300,000 texts, {many['seconds']:.0f} for "
        f"1,000,000 | {seconds * 1e3:.2f} ms | {seconds * n / 3600:.0f} hours",
        f"{few['peak_private_megabytes']:.0f} MB for 300,000 texts, "
        f"{many['peak_private_megabytes']:.0f} for 1,000,000 | {memory * 1e3:.2f} kB | "
        f"{memory * n / 1e3:.0f} GB",
    ]
    for part in ("frozen texts", "static texts"):
        found = scaling[part, 100_000]["seconds, fit"]
        expected.append(
            f"{found:.0f} seconds for 100,000 texts | {found / 1e5 * 1e3:.1f} ms | "
            f"{found / 1e5 * n / day:.1f} days"
        )
    for name in ("predict", "predict by a final_estimator"):
        found = median("prediction", name)
        days = found / 300 * n / day
        expected.append(
            f"{found:.1f} seconds for 300 texts | {found / 300 * 1e3:.1f} ms | "
            f"{days:.{0 if days >= 10 else 1}f} days"
        )
    page = (ROOT / "docs" / "beyond_one_machine.md").read_text()
    assert [row for row in expected if row not in page] == []


def test_the_published_procedure_learns(tiny_model, word_texts):
    texts, labels, _ = word_texts
    with seeded(0):
        posterior = fit_published(
            tiny_model, texts[:40], labels[:40], texts[40:], n_branches=2, n_epochs=4,
            batch_size=8, max_length=12, seed=0, learning_rate=1e-2,
        )  # fmt: skip
    found = np.unique(labels)[posterior.argmax(axis=1)]
    assert (found == labels[40:]).mean() > 0.9


def test_neighbors_are_compared(tmp_path, monkeypatch):
    texts, names = make_texts(400, random_state=0)
    codes = np.unique(names, return_inverse=True)[1]
    points = np.random.RandomState(0).randn(400, 8) + 2 * np.eye(8)[codes]
    monkeypatch.setattr(scaling, "pooled_texts", lambda _: (texts, codes))
    monkeypatch.setattr(embeddings, "encode", lambda _: points.astype(np.float16))
    monkeypatch.setattr(  # compiling would take most of the time
        scaling, "PyNNDescentTransformer",
        lambda n_neighbors, **_: KNeighborsTransformer(n_neighbors=n_neighbors - 1),
    )  # fmt: skip
    row = scaling.neighbors(300, Namespace(data=None, cache=tmp_path))
    # At this size the default asks all clean texts, and looks at all of them.
    assert row["accuracy, some"] == row["accuracy, exact"] > 0.6
    assert row["accuracy, approximate"] == pytest.approx(row["accuracy, exact"])
    found = performance.neighbors([row | {"part": "neighbors", "n_texts": 300}])
    assert found[1]["neighbours among"] == "all 150"
    assert [row["recall"] for row in found] == ["", "", "1.000"]


def test_checkouts_are_compared_in_turn(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(task, checkout):
        asked.append(checkout.name)
        return {"fit, seconds": len(asked) * (3.0 if checkout.name == "b" else 1.0)}

    monkeypatch.setattr(paired, "measure", measure)
    command = [str(tmp_path / "a"), str(tmp_path / "b"), "--rounds", "3"]
    command += ["--n-texts", "20", "--tasks", "frozen"]
    paired.main([*command, "--output", str(tmp_path / "rows")])
    assert asked == list("abbaab")
    assert "fit, seconds  4.0  9.0       2.25" in capsys.readouterr().out
    (row,) = read_rows(tmp_path / "rows")
    assert row["rounds"][0] == {"old": {"fit, seconds": 1}, "new": {"fit, seconds": 6}}


@pytest.mark.long
def test_a_checkout_is_measured():
    split = make_split(60)
    params = {"dynamics__trainable_layers": 0, "dynamics__n_epochs": 1}
    task = {"params": params, "texts": split.texts, "given": split.given.tolist()}
    task |= {"new": split.texts, "new_gold": split.gold.tolist(), "grid": None}
    assert 0 < paired.measure(task, ROOT)["predictions right"] <= 1
    found = paired.measure(task | {"grid": paired.GRID}, ROOT)
    assert found["search, CPU seconds"] > 0


@pytest.mark.parametrize("part", speed.DEVICE_PARTS)
def test_a_device_is_measured(part, tiny_model, word_texts, monkeypatch):
    monkeypatch.setattr(speed, "MODEL", tiny_model)
    monkeypatch.setattr(speed, "make_data", lambda n: (texts[:n], labels[:n]))
    texts, labels, _ = word_texts
    state = np.random.get_state()
    with seeded(0):
        row = speed.measure_on("cpu", part, n_texts=20, n_epochs=1, n_rounds=1)
    np.random.set_state(state)  # Trainer seeds it
    assert all(number > 0 for number in row["rounds"][0].values())
    assert set(row["rounds"][0]) == {"matrix product", *row["texts"]}
    assert set(row["megabytes"].values()) == {None}  # known of GPUs alone
    counted = list(row["operations"].values())
    if part == "device fit":  # two branches; one fine-tune, padded more
        assert list(row["texts"].values()) == [40, 40, 20]
        assert counted[1] > 1.5 * counted[2] > 0
    else:  # two branches of two epochs; one pass
        assert counted[1] > 3 * counted[2] > 0
        assert counted[2] == counted[3]
    shown = list(performance.gpu_rows(row))
    assert [line["ratio"] for line in shown][-1] == "1.00"


def test_a_run_on_a_gpu_has_a_section_of_its_own():
    rounds = [
        {"matrix product": 1e12, "predict": s, "encode": 4.0} for s in (1.0, 2.0, 9.0)
    ]
    row = {
        "part": "device predict", "device": "cuda", "rounds": rounds,
        "texts": {"predict": 3000, "encode": 3000}, "n_texts": 3000, "n_epochs": 1,
        "operations": {"predict": 2e11, "encode": 2e11}, "threads": 1,
        "megabytes": {"predict": 1234.5, "encode": None},
        "machine": "a GPU", "commit": "c", "versions": {"torch": "2"},
    }  # fmt: skip
    older = row | {"operations": {"predict": 0, "encode": 0}}
    section = performance.gpu([{"part": "layers"}, older, row])
    assert section.startswith("## On a GPU\n\n")
    assert section.endswith(".\n\n")  # a heading comes next
    assert "| predict | 1,500 | encode | 2.00 | 1,234 | 0.10 | 10.0 % |" in section
    assert "| encode | 750 | encode | 1.00 |  | 0.05 | 5.0 % |" in section
    assert "a GPU; 1 threads" in section
    assert section.count("| predict |") == 1
    assert performance.gpu([{"part": "layers"}]) == ""


def test_parts_are_those_of_the_device(capsys):
    asked = ["--device", "cuda", "--parts", "layers"]
    with pytest.raises(SystemExit):
        speed.main(asked)
    message = "needs a GPU"
    if torch.cuda.is_available():
        message = "has the --parts device fit"
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_speed_and_growth_are_measured(tmp_path):
    command = ["--n-texts", "12", "--n-epochs", "1", "--rounds", "1"]
    command += ["--parts", "shares", "dropout", "arithmetic", "prediction", "frozen"]
    speed.main([*command, "--output", str(tmp_path / "speed")])
    found = {row["part"]: row for row in read_rows(tmp_path / "speed")}
    shares = [float(row["ratio"]) for row in performance.shares(found)]
    assert len(shares) == 3
    assert all(0 < share < 1 for share in shares)
    assert len(list(performance.ratios(found))) == 7
    command = ["--sizes", "400", "--parts", "stages 2 and 3", "votes"]
    scaling.main([*command, "--output", str(tmp_path / "scaling")])
    row, voted = read_rows(tmp_path / "scaling")
    assert voted["accuracy, votes"] > voted["accuracy, majority"] > 0.5
    (shown,) = performance.votes([row, voted])
    assert shown["right labels, votes"] == f"{voted['accuracy, votes']:.3f}"
    assert (row["n_texts"], row["given_accuracy"]) == (400, pytest.approx(0.7))
    assert row["accuracy"] > 0.5  # of ten classes
    assert row["peak_private_megabytes"] > 0
    scaling.main([*command, "--missing", "--output", str(tmp_path / "scaling")])
    assert len(read_rows(tmp_path / "scaling")) == 2
