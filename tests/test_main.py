import re

import pytest

from skdygen._cli import main
from skdygen._cli._demo import run_demo
from skdygen.dynamics import IncrementalDynamics


def test_demo(tmp_path):
    lines, report = [], tmp_path / "report.html"
    run_demo(
        seed=0, noise=0.3, write=lines.append, report=report,
        dynamics=IncrementalDynamics(n_epochs=10),
    )  # fmt: skip
    assert "500 messages" in report.read_text(encoding="utf-8")
    assert str(report) in lines.pop()
    output = "\n".join(lines)
    assert "30% of the labels wrong" in output
    accuracies = dict(re.findall(r"(?m)^(.*?)\s+(\d\.\d{3})\s*$", output))
    assert float(accuracies["right labels, as given"]) == pytest.approx(0.7)
    assert float(accuracies["test accuracy, DyGen"]) > 0.6
    table = output[output.index("most suspicious labels") :].splitlines()[2:]
    assert table[0].split() == [
        "index", "given", "suggested", "true", "confidence", "quality", "text",
    ]  # fmt: skip
    assert len(table) == 11


def test_demo_does_not_replace_a_report(tmp_path, capsys):
    report = tmp_path / "report.html"
    report.write_text("mine")
    assert main(["demo", "--report", str(report)]) == 1
    assert "pass --force" in capsys.readouterr().err
    assert report.read_text() == "mine"


def test_help(capsys):
    with pytest.raises(SystemExit) as info:
        main(["demo", "--help"])
    assert info.value.code == 0
    assert "--noise" in capsys.readouterr().out
