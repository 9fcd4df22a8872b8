"""Several processes fit what one fits."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.conftest import make_word_texts, save_tiny_model
from tests.dynamics.conftest import LABELS, TEXTS, make_dynamics

SCRIPT = """
import os
import sys

import numpy as np
import torch
from accelerate import PartialState
from sklearn.base import clone

from skdygen.dynamics._checkpoint import Checkpoint
from tests.conftest import make_word_texts
from tests.dynamics.conftest import make_dynamics

model, out, begin = sys.argv[1:]
if begin == "accelerate":
    PartialState(cpu=True)
elif begin:  # by hand, without what a launcher puts into the environment
    rank = int(os.environ.pop("RANK"))
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out}.group", rank=rank, world_size=2
    )
texts, labels = make_word_texts(67)
dynamics = make_dynamics(
    model, n_epochs=2, batch_size=11, dropout=0.0, learning_rate=5e-3
)
recorded = dynamics.fit_transform(texts, labels)
partly = np.where(np.arange(67) % 4 == 0, "", labels)
watched = clone(dynamics).set_params(
    recording="training", n_recorded_epochs=1, missing_label="", n_components=16
).fit_transform(texts, partly)

# Interrupted in all processes, and resumed: dropout as if nothing had been.
drawing = clone(dynamics).set_params(dropout=0.5)
straight = drawing.fit_transform(texts, labels)
drawing.set_params(checkpoint_dir=f"{out}.checkpoints")
write = Checkpoint.write


def write_and_stop(self, **state):
    write(self, **state)
    raise KeyboardInterrupt


Checkpoint.write = write_and_stop
try:
    drawing.fit_transform(texts, labels)
except KeyboardInterrupt:
    Checkpoint.write = write
n_kept = len(os.listdir(f"{out}.checkpoints"))
resumed = drawing.fit_transform(texts, labels)
is_main = True
if begin:
    is_main = torch.distributed.get_rank() == 0
    torch.distributed.destroy_process_group()
if is_main:
    np.savez(
        out,
        embeddings=recorded.embeddings,
        watched=watched.embeddings,
        losses=dynamics.history_["loss"],
        probabilities=dynamics.predict_proba(texts[:20]),
        resumes=n_kept == 1 and np.array_equal(resumed.embeddings, straight.embeddings),
    )
"""


def fit(out, model, begin=""):
    """Run the script in two processes, or in one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    group["PYTHONPATH"] = str(Path(__file__).parents[2])
    group["CUDA_VISIBLE_DEVICES"] = ""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, model, out, begin],
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2 if begin else 1)
    ]
    for process in started:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-3000:]
    return np.load(out)


@pytest.mark.long
def test_two_processes_fit_what_one_fits(tmp_path):
    model = save_tiny_model(
        tmp_path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    # The environment of a launcher alone does nothing: this one waits for no other.
    one = fit(tmp_path / "one.npz", model)
    two = fit(tmp_path / "two.npz", model, "accelerate")
    by_hand = fit(tmp_path / "by_hand.npz", model, "by hand")
    assert one["resumes"]
    assert two["resumes"]
    # In half precision, and gradients are summed in another order.
    for name in ("embeddings", "watched", "probabilities", "losses"):
        assert_allclose(two[name].astype(float), one[name].astype(float), atol=0.02)
        assert_array_equal(by_hand[name], two[name])
    assert not np.array_equal(two["embeddings"], one["embeddings"])
    _, labels = make_word_texts(67)
    found = two["probabilities"].argmax(axis=1)
    assert (found == (labels[:20] == "fruit")).mean() > 0.8


def test_the_environment_of_a_launcher_alone_does_nothing(
    tiny_model, fitted, monkeypatch
):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2" if "SIZE" in name else "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    found = make_dynamics(tiny_model).fit_transform(TEXTS, LABELS)
    assert_array_equal(found.embeddings, fitted[1].embeddings)
