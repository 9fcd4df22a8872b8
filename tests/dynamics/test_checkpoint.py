"""What a long fit meets: it is killed, interrupted, short of disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skdygen.dynamics._checkpoint import Checkpoint, hash_fit
from skdygen.dynamics._hub import load_sentence_transformer
from tests.conftest import save_tiny_model
from tests.dynamics.conftest import LABELS, TEXTS, make_dynamics


def fit(dynamics, texts=TEXTS, labels=LABELS, at_step=None, action=None, **params):
    """Fit; before a step, counted from 1 and of 5 per epoch, something happens.

    Returns the trajectories and the number of steps.
    """
    n_steps, step = 0, torch.optim.AdamW.step

    def counted(*args, **kwargs):
        nonlocal n_steps
        n_steps += 1
        if n_steps == at_step:
            action()
        return step(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", counted)
        return dynamics.fit_transform(texts, labels, **params), n_steps


def interrupt(dynamics, *args, **params):
    """Stop a fit in its third epoch."""

    def ctrl_c():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(dynamics, *args, at_step=12, action=ctrl_c, **params)


def assert_same_fit(dynamics, trajectories, expected):
    assert dynamics.snapshots_ == expected[0].snapshots_
    assert dynamics.history_["loss"] == expected[0].history_["loss"]
    for moment in ("embeddings", "probabilities", "initial"):
        one, other = (getattr(t, moment) for t in (trajectories, expected[1]))
        assert_array_equal(one, other)


def test_ctrl_c_leaves_an_estimator_that_is_not_fitted(tiny_model, fitted):
    dynamics = make_dynamics(tiny_model)
    interrupt(dynamics)
    with pytest.raises(NotFittedError):
        check_is_fitted(dynamics)
    assert_same_fit(dynamics, dynamics.fit_transform(TEXTS, LABELS), fitted)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_ctrl_c_keeps_the_last_whole_epoch(tiny_model, fitted, tmp_path, mode):
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    interrupt(dynamics)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("fit-")
    assert path.suffix == ".pt"
    with mode():
        trajectories, n_steps = fit(dynamics)
    assert n_steps == 5
    assert_same_fit(dynamics, trajectories, fitted)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_without_a_seed_is_resumed_too(tiny_model, tmp_path):
    folder, copy = tmp_path / "checkpoints", tmp_path / "copy"
    dynamics = make_dynamics(tiny_model, checkpoint_dir=folder, random_state=None)
    state = np.random.get_state()
    interrupt(dynamics)
    shutil.copytree(folder, copy)
    first = dynamics.fit_transform(TEXTS, LABELS).embeddings
    shutil.copytree(copy, folder, dirs_exist_ok=True)
    assert_array_equal(dynamics.fit_transform(TEXTS, LABELS).embeddings, first)
    another = dynamics.fit_transform(TEXTS, LABELS)  # that one is over
    assert not np.array_equal(another.embeddings, first)
    np.random.set_state(state)


def test_a_damaged_checkpoint_is_not_used(tiny_model, fitted, tmp_path):
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    interrupt(dynamics)
    (path,) = tmp_path.iterdir()
    checkpoint = Checkpoint(tmp_path, path.stem.removeprefix("fit-"))
    data, rng = path.read_bytes(), np.random.RandomState(0)
    assert checkpoint.read()["epoch"] == 1
    for position in [0, 40, len(data) - 1, *rng.randint(len(data), size=30)]:
        changed = bytearray(data)
        changed[position] ^= 1 << rng.randint(8)
        for damaged in (changed, data[:position]):
            path.write_bytes(damaged)
            with pytest.warns(UserWarning, match="starts from the beginning"):
                assert checkpoint.read() is None
    with pytest.warns(UserWarning, match="starts from the beginning"):
        trajectories, n_steps = fit(dynamics)
    assert n_steps == 15
    assert_same_fit(dynamics, trajectories, fitted)
    assert list(tmp_path.iterdir()) == []


def test_another_model_of_the_same_name_starts_anew(tiny_model, fitted, tmp_path):
    folder = tmp_path / "checkpoints"
    variants = [{"seed": 1}, {"pooling": "cls"}, {"words": ["new"]}]
    variants.append({"hidden_act": "relu"})
    keys = set()
    for variant in variants:
        model = save_tiny_model(tmp_path, **variant)
        dynamics = make_dynamics(model, checkpoint_dir=folder)
        dynamics.precision_ = "fp32"
        keys.add(hash_fit(dynamics, load_sentence_transformer(model)))
    assert len(keys) == 4
    interrupt(dynamics)
    shutil.rmtree(model)
    shutil.copytree(tiny_model, model)
    assert_same_fit(dynamics, fit(dynamics)[0], fitted)
    # The same model at another place is the same.
    interrupt(dynamics)
    dynamics = make_dynamics(Path(tiny_model), checkpoint_dir=folder)
    trajectories, n_steps = fit(dynamics)
    assert n_steps == 5
    assert_same_fit(dynamics, trajectories, fitted)


def test_fits_that_differ_do_not_meet(tiny_model, fitted, tmp_path):
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    interrupt(clone(dynamics).set_params(learning_rate=1e-4))
    interrupt(dynamics, labels=LABELS[::-1])
    interrupt(dynamics, texts=TEXTS[::-1])
    interrupt(dynamics, sample_weight=np.arange(75) + 1)
    assert len(list(tmp_path.iterdir())) == 4
    assert_same_fit(dynamics, dynamics.fit_transform(TEXTS, LABELS), fitted)
    assert len(list(tmp_path.iterdir())) == 4


def test_two_equal_fits_at_the_same_time(tiny_model, fitted, tmp_path):
    """One is resumed, and over, while the other is in its third epoch."""
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    other = clone(dynamics)
    results = []
    trajectories, _ = fit(
        dynamics, at_step=12, action=lambda: results.append(fit(other))
    )
    ((of_other, n_steps),) = results
    assert n_steps == 5
    assert_same_fit(other, of_other, fitted)
    assert_same_fit(dynamics, trajectories, fitted)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_that_cannot_begin(tiny_model, tmp_path):
    (tmp_path / "file").touch()
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path / "file" / "folder")
    with pytest.raises(OSError, match="checkpoint_dir: nothing can be written"):
        dynamics.fit(TEXTS, LABELS)
    dynamics.set_params(model=tmp_path / "no model", checkpoint_dir=tmp_path / "c")
    with pytest.raises(ValueError, match="no model"):
        dynamics.fit(TEXTS, LABELS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def run_script(code, *args):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# Stops itself by SIGKILL at one of the moments that count: a step of the training, or
# a file that is opened, renamed or removed. Children are forked from a process that has
# done nothing but import.
KILLED = """
import os, signal, sys
from pathlib import Path

import numpy as np
import torch

from tests.dynamics.conftest import LABELS, TEXTS, make_dynamics

model, folder, recording, layers = sys.argv[1:]
params = {"recording": recording, "trainable_layers": int(layers)}


def run(out, kill_at, **more):
    moments = 0

    def count(event=None, args=()):
        nonlocal moments
        if event is not None:
            counts = event in ("open", "os.rename", "os.remove")
            if not counts or "checkpoints" not in str(args[0]):
                return
        moments += 1
        if moments == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    step = torch.optim.AdamW.step
    torch.optim.AdamW.step = lambda *a, **k: (count(), step(*a, **k))[1]
    dynamics = make_dynamics(model, **params, **more)
    trajectories = dynamics.fit_transform(TEXTS, LABELS)
    np.savez(
        out, moments=moments, embeddings=trajectories.embeddings,
        snapshots=np.frombuffer(b"".join(dynamics.snapshots_), dtype=np.uint8),
        probabilities=dynamics.predict_proba(TEXTS[:9]),
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
    for name in ("embeddings", "snapshots", "probabilities"):
        assert np.array_equal(found[name], plain[name]), name
    assert os.listdir(checkpoints["checkpoint_dir"]) == []
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize(("recording", "layers"), [("training", 1), ("evaluation", 0)])
def test_a_killed_fit_is_resumed_to_the_same_result(
    tiny_model, tmp_path, recording, layers
):
    killed = run_script(KILLED, tiny_model, tmp_path, recording, layers)
    assert sum(map(int, killed.split())) >= 8


# Files larger than a limit fail as they do where the disk is full.
FULL = """
import os, resource, sys, warnings
from pathlib import Path

import numpy as np

from tests.dynamics.conftest import LABELS, TEXTS, make_dynamics

model, folder = sys.argv[1], Path(sys.argv[2])
dynamics = make_dynamics(model)
expected = dynamics.fit_transform(TEXTS, LABELS)

resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    kept = make_dynamics(model, checkpoint_dir=folder / "checkpoints")
    found = kept.fit_transform(TEXTS, LABELS)
assert np.array_equal(found.embeddings, expected.embeddings)
assert kept.snapshots_ == dynamics.snapshots_
assert len(caught) == 3 and all("could not be kept" in str(w.message) for w in caught)
os.rmdir(folder / "checkpoints")

mapped = make_dynamics(model, max_nbytes=0, temp_folder=str(folder))
for trial in (
    lambda: expected.save(folder / "trajectories"),
    lambda: mapped.fit_transform(TEXTS, LABELS),
):
    try:
        trial()
    except OSError as error:
        print(error)
    else:
        raise AssertionError("it fitted")
assert list(folder.iterdir()) == []
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on sizes of files")
def test_a_full_disk(tiny_model, tmp_path):
    assert "temp_folder" in run_script(FULL, tiny_model, tmp_path)
