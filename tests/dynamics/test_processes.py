"""Several processes fit what one fits."""

import multiprocessing
import os
import pickle
import socket

import numpy as np
import pytest
import torch
from accelerate import PartialState
from numpy.testing import assert_allclose
from sklearn.base import clone

from skdygen.dynamics._checkpoint import Checkpoint
from tests.conftest import make_word_texts, save_tiny_model
from tests.dynamics.conftest import LABELS, TEXTS, assert_same, make_dynamics

LAUNCHED = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def fit(model, folder, rank=0, launched=None):
    """Fit in several ways, as one of two processes if it has been launched as such."""
    if launched is not None:
        os.environ.update(launched | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        PartialState(cpu=True)
    texts, labels = make_word_texts(67)
    dynamics = make_dynamics(
        model, n_epochs=2, batch_size=11, dropout=0.0, learning_rate=5e-3
    )
    recorded = dynamics.fit_transform(texts, labels)
    watching = clone(dynamics).set_params(
        recording="training", n_recorded_epochs=1, missing_label="", n_components=16
    )
    watched = watching.fit_transform(texts, np.where(np.arange(67) % 4, labels, ""))

    # Interrupted in all processes, and resumed: dropout as if nothing had been.
    drawing = clone(dynamics).set_params(dropout=0.5)
    straight = drawing.fit_transform(texts, labels)
    drawing.set_params(checkpoint_dir=folder / "fits")
    write = Checkpoint.write

    def write_and_stop(self, **state):
        write(self, **state)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "write", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            drawing.fit_transform(texts, labels)
    if rank == 0:  # which has written it
        assert len(os.listdir(drawing.checkpoint_dir)) == 1
    assert_same(drawing.fit_transform(texts, labels), straight)
    if launched is not None:
        torch.distributed.destroy_process_group()
    if rank == 0:
        outcome = recorded, watched, dynamics.history_["loss"]
        (folder / "outcome").write_bytes(pickle.dumps(outcome))


@pytest.mark.long
def test_two_processes_fit_what_one_fits(tmp_path):
    model = save_tiny_model(
        tmp_path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    fit(model, tmp_path)
    *one, losses = pickle.loads((tmp_path / "outcome").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        launched = LAUNCHED | {"MASTER_PORT": str(free.getsockname()[1])}
    context = multiprocessing.get_context("spawn")
    group = [
        context.Process(target=fit, args=(model, tmp_path, rank, launched))
        for rank in range(2)
    ]
    for process in group:
        process.start()
    for process in group:
        process.join()
        assert process.exitcode == 0
    *two, losses_of_two = pickle.loads((tmp_path / "outcome").read_bytes())
    # In half precision, and gradients are summed in another order.
    assert_allclose(losses_of_two, losses, atol=0.01)
    for alone, together in zip(one, two, strict=True):
        assert_same(together, alone, atol=0.02)
        assert not np.array_equal(together.probabilities, alone.probabilities)


def test_the_environment_of_a_launcher_alone_does_nothing(
    tiny_model, fitted, monkeypatch
):
    for name, value in (LAUNCHED | {"RANK": "1", "LOCAL_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    assert_same(make_dynamics(tiny_model).fit_transform(TEXTS, LABELS), fitted[1])
