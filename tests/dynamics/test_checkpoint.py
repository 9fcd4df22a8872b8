"""What a long fit meets: it is killed, interrupted, short of disk or of memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._branches import Branches
from tests.conftest import make_word_texts, save_tiny_model

TEXTS, LABELS = make_word_texts(90)
LABELS[::7] = LABELS[1]


def make_dynamics(tiny_model, **params):
    settings = {
        "n_epochs": 4,
        "trajectory_epochs": None,
        "trainable_layers": 1,
        "batch_size": 16,
        "precision": "fp32",
        "random_state": 0,
    }
    return LanguageModelDynamics(tiny_model, **(settings | params))


def assert_same_fit(dynamics, trajectories, expected, expected_trajectories):
    assert dynamics.snapshots_ == expected.snapshots_
    for moment in ("embeddings", "probabilities", "initial"):
        assert_array_equal(
            getattr(trajectories, moment), getattr(expected_trajectories, moment)
        )


@pytest.fixture(scope="module")
def uninterrupted(tiny_model):
    dynamics = make_dynamics(tiny_model)
    return dynamics, dynamics.fit_transform(TEXTS, LABELS)


@pytest.fixture
def stop_at_step(monkeypatch):
    """Give a function that has a signal raised at some step of the optimiser."""

    def stop(step, number=signal.SIGINT):
        steps = iter(range(step, -1, -1))
        original = torch.optim.AdamW.step

        def interrupted(*args, **kwargs):
            if next(steps, None) == 0:
                signal.raise_signal(number)
            return original(*args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)

    # What a shell starts in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield stop
    signal.signal(signal.SIGINT, before)


def interrupt(dynamics, stop_at_step, step=15):
    """Stop a fit in its third epoch."""
    stop_at_step(step)
    with pytest.raises(KeyboardInterrupt):
        dynamics.fit_transform(TEXTS, LABELS)


# Stops itself by SIGKILL at one of the moments that count: a step of the training, or
# a file that is opened, renamed or removed. Children are forked from a process that has
# done nothing but import.
KILLED = """
import os, signal, sys
from pathlib import Path

import numpy as np
import torch

torch.set_num_threads(1)
from sklearn.base import clone
from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics
from tests.dynamics.test_checkpoint import LABELS, TEXTS, make_dynamics
import sentence_transformers, transformers.optimization

model, folder, recording, layers = sys.argv[1:]
params = {"recording": recording, "trainable_layers": int(layers)}


def run(out, kill_at, **more):
    moments = 0

    def count(event=None, args=()):
        nonlocal moments
        if event is not None:
            counts = event in ("open", "os.rename", "os.remove", "os.rmdir")
            if not counts or "checkpoints" not in str(args[0]):
                return
        moments += 1
        if moments == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    step = torch.optim.AdamW.step
    torch.optim.AdamW.step = lambda *a, **k: (count(), step(*a, **k))[1]
    clf = DyGenClassifier(make_dynamics(model, **params, **more), random_state=3)
    clf.fit(TEXTS, LABELS)
    np.savez(
        out, distributions=clf.label_distributions_, moments=moments,
        snapshots=np.frombuffer(b"".join(clf.dynamics_.snapshots_), dtype=np.uint8),
        probabilities=clf.predict_proba(TEXTS[:9]),
    )


def child(*args, **more):
    process = os.fork()
    if process == 0:
        try:
            run(*args, **more)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(process, 0)[1]


checkpoints = {"checkpoint_dir": Path(folder) / "checkpoints"}
assert child(f"{folder}/plain.npz", 0) == 0
assert child(f"{folder}/whole.npz", 0, **checkpoints) == 0
n_moments = int(np.load(f"{folder}/whole.npz")["moments"])
rng = np.random.RandomState(0)
for _ in range(4):
    killed = 0
    while True:  # from a tenth to a half of the way, from wherever the last has come to
        moment = rng.randint(n_moments // 10, n_moments // 2) if killed < 5 else 0
        status = child(f"{folder}/{killed}.npz", moment, **checkpoints)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        killed += 1
    print(killed)
    found, plain = np.load(f"{folder}/{killed}.npz"), np.load(f"{folder}/plain.npz")
    for name in ("distributions", "snapshots", "probabilities"):
        assert np.array_equal(found[name], plain[name]), name
    assert os.listdir(checkpoints["checkpoint_dir"]) == []
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize(
    ("recording", "layers"), [("evaluation", 1), ("training", 1), ("evaluation", 0)]
)
def test_a_killed_fit_goes_on_to_the_same_result(
    tiny_model, tmp_path, recording, layers
):
    done = run_script(KILLED, tiny_model, tmp_path, recording, layers)
    assert sum(map(int, done.stdout.split())) >= 8


def run_script(code, *args):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_ctrl_c_leaves_an_estimator_that_is_not_fitted(
    tiny_model, uninterrupted, stop_at_step
):
    dynamics = make_dynamics(tiny_model)
    interrupt(dynamics, stop_at_step)
    with pytest.raises(NotFittedError):
        check_is_fitted(dynamics)
    again = dynamics.fit_transform(TEXTS, LABELS)
    assert_same_fit(dynamics, again, *uninterrupted)
    clf = DyGenClassifier(clone(dynamics), random_state=0)
    stop_at_step(3)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(TEXTS, LABELS)
    with pytest.raises(NotFittedError):
        clf.predict(TEXTS)


def test_ctrl_c_keeps_the_last_whole_epoch(
    tiny_model, uninterrupted, stop_at_step, tmp_path
):
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    interrupt(dynamics, stop_at_step)
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "checkpoint.json").read_text())["epoch"] == 1
    steps = []
    original = torch.optim.AdamW.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.optim.AdamW,
            "step",
            lambda *args, **kwargs: (steps.append(0), original(*args, **kwargs))[1],
        )
        trajectories = dynamics.fit_transform(TEXTS, LABELS)
    assert len(steps) == 2 * 6  # two epochs of six batches
    assert_same_fit(dynamics, trajectories, *uninterrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_without_a_seed_goes_on_too(tiny_model, stop_at_step, tmp_path):
    dynamics = make_dynamics(
        tiny_model, checkpoint_dir=tmp_path / "checkpoints", random_state=None
    )
    state = np.random.get_state()
    interrupt(dynamics, stop_at_step)
    shutil.copytree(dynamics.checkpoint_dir, tmp_path / "copy")
    first = dynamics.fit_transform(TEXTS, LABELS).embeddings
    shutil.copytree(tmp_path / "copy", dynamics.checkpoint_dir, dirs_exist_ok=True)
    assert_array_equal(dynamics.fit_transform(TEXTS, LABELS).embeddings, first)
    another = dynamics.fit_transform(TEXTS, LABELS)  # that one is over
    assert not np.array_equal(another.embeddings, first)
    np.random.set_state(state)


@pytest.mark.parametrize("kind", ["cut", "changed", "missing"])
@pytest.mark.parametrize(
    "name",
    ["checkpoint.json", "training1.pt", "snapshot0.safetensors",
     "dynamics1.safetensors"],
)  # fmt: skip
def test_a_damaged_checkpoint_is_not_used(
    tiny_model, uninterrupted, stop_at_step, tmp_path, name, kind
):
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    interrupt(dynamics, stop_at_step)
    (path,) = tmp_path.glob(f"*/{name}")
    data = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        # A digit of the seed, or any byte of an array.
        position = data.index(b"seed") + 8 if path.suffix == ".json" else len(data) // 2
        data[position] ^= 1
        path.write_bytes(data)
    if (name, kind) == ("checkpoint.json", "missing"):  # then there is none
        trajectories = dynamics.fit_transform(TEXTS, LABELS)
    else:
        with pytest.warns(UserWarning, match="starts from the beginning"):
            trajectories = dynamics.fit_transform(TEXTS, LABELS)
    assert_same_fit(dynamics, trajectories, *uninterrupted)


def test_another_model_of_the_same_name_is_noticed(
    tiny_model, uninterrupted, stop_at_step, tmp_path
):
    other = save_tiny_model(tmp_path, seed=1)
    dynamics = make_dynamics(other, checkpoint_dir=tmp_path / "checkpoints")
    interrupt(dynamics, stop_at_step)
    shutil.rmtree(other)
    shutil.copytree(tiny_model, other)
    with pytest.warns(UserWarning, match="the language model is another one now"):
        trajectories = dynamics.fit_transform(TEXTS, LABELS)
    assert_same_fit(dynamics, trajectories, *uninterrupted)


def test_fits_that_differ_do_not_meet(
    tiny_model, uninterrupted, stop_at_step, tmp_path
):
    other = make_dynamics(tiny_model, checkpoint_dir=tmp_path, learning_rate=1e-4)
    interrupt(other, stop_at_step)
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    for texts, labels in ((TEXTS, LABELS[::-1]), (TEXTS[::-1], LABELS)):
        stop_at_step(15)
        with pytest.raises(KeyboardInterrupt):
            dynamics.fit(texts, labels)
    stop_at_step(15)
    with pytest.raises(KeyboardInterrupt):
        dynamics.fit(TEXTS, LABELS, sample_weight=np.arange(len(TEXTS)) + 1)
    assert len(list(tmp_path.iterdir())) == 4
    trajectories = dynamics.fit_transform(TEXTS, LABELS)
    assert_same_fit(dynamics, trajectories, *uninterrupted)
    assert len(list(tmp_path.iterdir())) == 4


def test_two_equal_fits_at_the_same_time(
    tiny_model, uninterrupted, stop_at_step, tmp_path
):
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    interrupt(dynamics, stop_at_step)
    (folder,) = tmp_path.iterdir()
    with FileLock(folder / "lock"):
        with pytest.warns(UserWarning, match="another process is at work"):
            trajectories = dynamics.fit_transform(TEXTS, LABELS)
        assert_same_fit(dynamics, trajectories, *uninterrupted)
        assert (folder / "training1.pt").exists()


def test_a_folder_that_cannot_be_written_to(tiny_model, tmp_path):
    (tmp_path / "file").touch()
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path / "file" / "folder")
    with pytest.raises(OSError, match="checkpoint_dir: nothing can be written"):
        dynamics.fit(TEXTS, LABELS)


def test_a_fit_that_fails_before_its_first_epoch_leaves_nothing(tmp_path):
    dynamics = make_dynamics(str(tmp_path / "no model"), checkpoint_dir=tmp_path / "c")
    with pytest.raises(ValueError, match="no model"):
        dynamics.fit(TEXTS, LABELS)
    assert list((tmp_path / "c").iterdir()) == []


# Files larger than a limit fail as they do where the disk is full.
FULL = """
import os, resource, sys, warnings
from pathlib import Path

import numpy as np
import torch

torch.set_num_threads(1)
from skdygen import DyGenClassifier
from tests.dynamics.test_checkpoint import LABELS, TEXTS, make_dynamics

model, folder = sys.argv[1], Path(sys.argv[2])
dynamics = make_dynamics(model)
expected = dynamics.fit_transform(TEXTS, LABELS)
clf = DyGenClassifier(make_dynamics(model), random_state=0).fit(TEXTS, LABELS)
clf.save(folder / "model")
before = sorted(folder.rglob("*"))

resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    kept = make_dynamics(model, checkpoint_dir=folder / "checkpoints")
    found = kept.fit_transform(TEXTS, LABELS)
assert np.array_equal(found.embeddings, expected.embeddings)
assert kept.snapshots_ == dynamics.snapshots_
assert len(caught) == 4 and all("could not be kept" in str(w.message) for w in caught)
os.rmdir(folder / "checkpoints")

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    cached = DyGenClassifier(
        make_dynamics(model), memory=str(folder / "cache"), random_state=0
    ).fit(TEXTS, LABELS)
assert np.array_equal(cached.label_distributions_, clf.label_distributions_)
assert any("cache" in str(w.message) for w in caught)

for trial in (
    lambda: clf.save(folder / "model", overwrite=True),
    lambda: clf.save(folder / "other"),
    lambda: expected.save(folder / "trajectories"),
    lambda: make_dynamics(model, max_nbytes=0, temp_folder=str(folder)).fit_transform(
        TEXTS, LABELS
    ),
):
    try:
        trial()
    except OSError as error:
        print(error)
    else:
        raise AssertionError("it fitted")
import shutil
shutil.rmtree(folder / "cache")
assert sorted(folder.rglob("*")) == before
loaded = DyGenClassifier.load(folder / "model")
assert np.array_equal(loaded.predict_proba(TEXTS), clf.predict_proba(TEXTS))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on sizes of files")
def test_a_full_disk(tiny_model, tmp_path):
    done = run_script(FULL, tiny_model, tmp_path)
    assert "temp_folder" in done.stdout


def test_a_loss_that_is_not_a_number_stops_the_fit(tiny_model, monkeypatch):
    n_steps = 0
    forward = Branches.forward

    def broken(self, features):
        nonlocal n_steps
        embeddings, logits = forward(self, features)
        n_steps += self.training
        return embeddings, logits * (float("nan") if n_steps == 9 else 1)

    monkeypatch.setattr(Branches, "forward", broken)
    dynamics = make_dynamics(tiny_model)
    with pytest.raises(FloatingPointError, match=r"batch 3 in epoch 2 is nan"):
        dynamics.fit(TEXTS, LABELS)
    with pytest.raises(NotFittedError):
        check_is_fitted(dynamics)


def limit_memory(monkeypatch, most):
    """Have networks fail as a GPU does whose memory so many texts exceed."""
    forward = Branches.forward
    sizes = []

    def limited(self, features):
        n_rows = len(next(v for v in features.values() if torch.is_tensor(v)))
        if n_rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        sizes.append(n_rows)
        return forward(self, features)

    monkeypatch.setattr(Branches, "forward", limited)
    return sizes


def test_short_of_memory_batches_are_computed_in_parts(tmp_path, monkeypatch, caplog):
    from transformers import BertConfig

    still = BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = save_tiny_model(tmp_path, config=still)
    dynamics = make_dynamics(model, dropout=0.0, recording="training")
    expected = dynamics.fit_transform(TEXTS, LABELS)
    sizes = limit_memory(monkeypatch, 5)
    found = clone(dynamics).fit_transform(TEXTS, LABELS)
    # The same training, up to the order of sums.
    assert_allclose(
        found.embeddings.astype(float), expected.embeddings.astype(float), atol=5e-3
    )
    assert_allclose(found.probabilities, expected.probabilities, atol=5e-3)
    assert max(sizes) <= 5
    told = [r.message for r in caplog.records if "out of memory" in r.message]
    assert told[0] == "out of memory with 16 texts at once; going on with 8."
    # Told, and learnt, once: not with every batch.
    assert len(told) == 2
    replayed = dynamics.transform(TEXTS)
    monkeypatch.undo()
    assert_allclose(
        replayed.embeddings.astype(float),
        dynamics.transform(TEXTS).embeddings.astype(float),
        atol=5e-3,
    )


def test_too_little_memory_for_one_text(tiny_model, monkeypatch):
    limit_memory(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        make_dynamics(tiny_model).fit(TEXTS, LABELS)
