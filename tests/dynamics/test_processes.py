"""Several processes fit what one fits."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.conftest import make_word_texts

SCRIPT = """
import atexit
import os
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone

from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._checkpoint import Checkpoint
from tests.conftest import make_word_texts

model, out = sys.argv[1:]


def note_what_is_left():  # runs after what is registered later
    rank = os.environ.get("RANK", "0")
    left = torch.distributed.is_initialized()
    Path(f"{out}.{rank}").write_text(f"left: {left}")


atexit.register(note_what_is_left)
texts, labels = make_word_texts(67)
dynamics = LanguageModelDynamics(
    model, trainable_layers=1, n_epochs=2, batch_size=11, dropout=0.0,
    precision="fp32", random_state=0,
)
recorded = dynamics.fit_transform(texts, labels)
partly = np.where(np.arange(67) % 4 == 0, "", labels)
watched = clone(dynamics).set_params(
    recording="training", trajectory_epochs=1, missing_label="", n_components=16
).fit_transform(texts, partly)
clf = DyGenClassifier(dynamics, random_state=0).fit(texts, labels)

# Interrupted in all processes, and gone on with: dropout as if nothing had been.
drawing = clone(dynamics).set_params(dropout=0.5)
straight = drawing.fit_transform(texts, labels)
drawing.set_params(checkpoint_dir=f"{out}.checkpoints")
write = Checkpoint.write


def write_and_stop(self, *args):
    write(self, *args)
    raise KeyboardInterrupt


Checkpoint.write = write_and_stop
try:
    drawing.fit_transform(texts, labels)
except KeyboardInterrupt:
    Checkpoint.write = write
n_kept = len(os.listdir(f"{out}.checkpoints"))
resumed = drawing.fit_transform(texts, labels)
from accelerate import PartialState

state = PartialState()
if state.is_main_process:  # prediction needs no other process
    np.savez(
        out,
        embeddings=recorded.embeddings,
        watched=watched.embeddings,
        probabilities=clf.predict_proba(texts[:20]),
        n_processes=state.num_processes,
        resumes=n_kept == 1 and np.array_equal(resumed.embeddings, straight.embeddings),
    )
"""


def fit(tmp_path, model, n_processes):
    script, out = tmp_path / "train.py", tmp_path / f"{n_processes}.npz"
    script.write_text(SCRIPT)
    command = [sys.executable]
    if n_processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command += ["-m", "accelerate.commands.launch", "--multi_gpu"]
        command += ["--num_machines", "1"]
        command += ["--num_processes", str(n_processes), "--mixed_precision", "no"]
        command += ["--num_cpu_threads_per_process", "1", "--dynamo_backend", "no"]
        command += ["--main_process_port", str(port)]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [*command, script, model, out],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(out)


def test_two_processes_fit_what_one_fits(tmp_path, model_without_dropout):
    one = fit(tmp_path, model_without_dropout, 1)
    two = fit(tmp_path, model_without_dropout, 2)
    assert (one["n_processes"], two["n_processes"]) == (1, 2)
    assert (one["resumes"], two["resumes"]) == (True, True)
    # In half precision, and gradients are summed in another order.
    for name in ("embeddings", "watched"):
        assert_allclose(two[name].astype(float), one[name].astype(float), atol=0.02)
    assert_allclose(two["probabilities"], one["probabilities"], atol=0.02)
    _, labels = make_word_texts(67)
    found = two["probabilities"].argmax(axis=1)
    assert (found == (labels[:20] == "fruit")).mean() > 0.8
    for rank in range(2):  # threads that talk to other processes could abort this one
        assert (tmp_path / f"2.npz.{rank}").read_text() == "left: False"


@pytest.fixture(scope="module")
def model_without_dropout(tmp_path_factory):
    from transformers import BertConfig

    from tests.conftest import save_tiny_model

    config = BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return save_tiny_model(tmp_path_factory.mktemp("still"), config=config)
