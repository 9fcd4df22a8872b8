"""What a long fit meets: it is killed, interrupted, short of disk."""

import multiprocessing
import os
import pickle
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sentence_transformers import SentenceTransformer
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted
from transformers import BertJapaneseTokenizer

from skdygen.dynamics._checkpoint import Checkpoint, hash_fit
from skdygen.dynamics._hub import load_sentence_transformer
from tests.attacks import cases
from tests.conftest import save_tiny_model
from tests.dynamics.conftest import (
    LABELS,
    TEXTS,
    assert_same,
    before_steps,
    make_dynamics,
)


def interrupt(dynamics, texts=TEXTS, labels=LABELS, **params):
    """Stop a fit in its third epoch."""

    def ctrl_c(number):
        if number == 12:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        before_steps(patch, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            dynamics.fit_transform(texts, labels, **params)
    with pytest.raises(NotFittedError):
        check_is_fitted(dynamics)


def check_fit(dynamics, expected, *, n_epochs, action=lambda number: None):
    """Fit in so many epochs, and come to what was to be expected."""
    with pytest.MonkeyPatch.context() as patch:
        steps = before_steps(patch, action)
        trajectories = dynamics.fit_transform(TEXTS, LABELS)
    assert len(steps) == 5 * n_epochs
    assert dynamics.snapshots_ == expected[0].snapshots_
    assert dynamics.history_["loss"] == expected[0].history_["loss"]
    assert_same(trajectories, expected[1])


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_ctrl_c_keeps_the_last_whole_epoch(tiny_model, fitted, tmp_path, mode):
    dynamics = make_dynamics(tiny_model)
    interrupt(dynamics)
    dynamics.set_params(checkpoint_dir=tmp_path)
    interrupt(dynamics)
    (path,) = tmp_path.iterdir()
    assert (path.name[:4], path.suffix) == ("fit-", ".pt")
    with mode():
        check_fit(dynamics, fitted, n_epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_without_a_seed_is_resumed_too(tiny_model, tmp_path):
    folder, copy = tmp_path / "checkpoints", tmp_path / "copy"
    dynamics = make_dynamics(tiny_model, checkpoint_dir=folder, random_state=None)
    state = np.random.get_state()
    interrupt(dynamics)
    shutil.copytree(folder, copy)
    first = dynamics.fit_transform(TEXTS, LABELS)
    shutil.copytree(copy, folder, dirs_exist_ok=True)
    assert_same(dynamics.fit_transform(TEXTS, LABELS), first)
    another = dynamics.fit_transform(TEXTS, LABELS)  # that one is over
    assert not np.array_equal(another.embeddings, first.embeddings)
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
        check_fit(dynamics, fitted, n_epochs=3)
    assert list(tmp_path.iterdir()) == []


def test_another_model_of_the_same_name_starts_anew(tiny_model, fitted, tmp_path):
    folder, keys = tmp_path / "checkpoints", set()
    for other in (
        {}, {"words": ["new word"]}, {"seed": 1}, {"pooling": "cls"},
        {"hidden_act": "relu"},
    ):  # fmt: skip
        model = save_tiny_model(tmp_path, **({"words": ["word"]} | other))
        dynamics = make_dynamics(model, checkpoint_dir=folder)
        dynamics.precision_ = "fp32"
        keys.add(hash_fit(dynamics, load_sentence_transformer(model)))
    dynamics.precision_ = "bf16"  # as another device has it
    keys.add(hash_fit(dynamics, load_sentence_transformer(model)))
    assert len(keys) == 6
    interrupt(dynamics)
    shutil.rmtree(model)
    shutil.copytree(tiny_model, model)
    check_fit(dynamics, fitted, n_epochs=3)
    # The same model in memory is the same, whatever it has been used for.
    interrupt(dynamics)
    dynamics.set_params(model=SentenceTransformer(tiny_model, device="cpu"))
    dynamics.model.encode(TEXTS)
    check_fit(dynamics, fitted, n_epochs=1)


def test_a_tokeniser_in_python_counts_with_its_rules(tiny_model, tmp_path, monkeypatch):
    model, keys = SentenceTransformer(tiny_model, device="cpu"), set()
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncat\n")
    dynamics = make_dynamics(model)
    dynamics.precision_ = "fp32"
    for folder, is_lower in (("a", True), ("b", False), ("c", True)):
        tokenizer = BertJapaneseTokenizer(
            tmp_path / "vocab.txt", word_tokenizer_type="basic", do_lower_case=is_lower
        )
        tokenizer.save_pretrained(tmp_path / folder)
        tokenizer = BertJapaneseTokenizer.from_pretrained(tmp_path / folder)
        monkeypatch.setattr(SentenceTransformer, "tokenizer", tokenizer)
        keys.add(hash_fit(dynamics, model))
    assert len(keys) == 2  # the place is all the same


def test_fits_that_differ_do_not_meet(tiny_model, fitted, tmp_path):
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    interrupt(clone(dynamics).set_params(learning_rate=1e-4))
    interrupt(dynamics, labels=LABELS[::-1])
    interrupt(dynamics, texts=TEXTS[::-1])
    interrupt(dynamics, sample_weight=np.arange(75) + 1)
    assert len(list(tmp_path.iterdir())) == 4
    check_fit(dynamics, fitted, n_epochs=3)
    assert len(list(tmp_path.iterdir())) == 4


def test_two_equal_fits_at_the_same_time(tiny_model, fitted, tmp_path):
    """One is resumed, and over, while the other is in its third epoch."""
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)

    def fit_other(number):
        if number == 12:
            check_fit(clone(dynamics), fitted, n_epochs=1)
            assert list(tmp_path.iterdir()) == []

    # Each step of the other is counted by both.
    check_fit(dynamics, fitted, n_epochs=4, action=fit_other)
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


def test_before_any_text_is_read(tiny_model, tmp_path):
    """What is wrong with the machine, or with numbers, costs no pass over the texts."""
    (tmp_path / "file").touch()
    for params, match in (
        ({"checkpoint_dir": tmp_path / "file"}, "checkpoint_dir: nothing can be"),
        ({"model": "no/such model"}, "no/such model"),
        ({"device": "cuda:77"}, "cuda:77"),
    ):
        dynamics = make_dynamics(
            tiny_model, views=[("a", FunctionTransformer(refuse))]
        ).set_params(**params)
        with pytest.raises((OSError, ValueError, RuntimeError), match=match):
            dynamics.fit(TEXTS, LABELS)
    frozen = make_dynamics(read_one, trainable_layers=0, hidden_size=32)
    with pytest.raises(ValueError, match=r"n_components=64, .* no wider than 32"):
        frozen.set_params(n_components=64).fit(TEXTS, LABELS)


def refuse(texts):
    """Fail where texts are read."""
    raise AssertionError("texts were read")


def read_one(texts):
    """Embed a text; of more, something is amiss."""
    assert len(texts) == 1
    return np.ones((1, 5))


def test_views_need_not_be_pickled(tiny_model, tmp_path):
    lengths = FunctionTransformer(lambda texts: [[len(text)] for text in texts])
    dynamics = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    dynamics.set_params(views=[("lengths", lengths)])
    assert dynamics.fit_transform(TEXTS, LABELS).views["lengths"].shape[1] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on sizes of files")
def test_a_full_disk(tiny_model, fitted, tmp_path):
    """Files larger than a limit fail as they do there."""
    resource = pytest.importorskip("resource")
    kept = make_dynamics(tiny_model, checkpoint_dir=tmp_path)
    mapped = make_dynamics(tiny_model, max_nbytes=0, temp_folder=tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.warns(UserWarning, match="could not be kept") as caught:
            check_fit(kept, fitted, n_epochs=3)
        assert len(caught) == 3
        with pytest.raises(OSError, match="temp_folder"):
            mapped.fit_transform(TEXTS, LABELS)
        with pytest.raises(OSError, match="cannot be written"):
            fitted[1].save(tmp_path / "trajectories")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def fit_and_die(model, folder, kill_at):
    """Fit, but for a SIGKILL at one of the moments that count, from 1.

    A step of the training, or a file that is opened, renamed or removed.
    """
    n_moments = 0

    def count(*_):
        nonlocal n_moments
        n_moments += 1
        if n_moments == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event, args):
        if event in ("open", "os.rename", "os.remove") and "fits" in str(args[0]):
            count()

    sys.addaudithook(audit)
    before_steps(pytest.MonkeyPatch(), count)
    dynamics = make_dynamics(
        model, checkpoint_dir=folder / "fits", recording="training"
    )
    trajectories = dynamics.fit_transform(TEXTS, LABELS)
    outcome = trajectories, dynamics.snapshots_, n_moments
    (folder / "outcome").write_bytes(pickle.dumps(outcome))


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_killed_fit_is_resumed_to_the_same_result(tiny_model, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformers.models.bert.modeling_bert"])

    def run(kill_at):
        args = (tiny_model, tmp_path, kill_at)
        child = context.Process(target=fit_and_die, args=args)
        child.start()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        return child.exitcode != 0

    run(0)
    expected, snapshots, n_moments = pickle.loads((tmp_path / "outcome").read_bytes())
    rng, n_killed, n_kills = np.random.RandomState(0), 0, max(8, len(cases(20)))
    while n_killed < n_kills:
        # From a tenth to a half of the way, from where it has come to.
        while run(rng.randint(n_moments // 10, n_moments // 2)):
            n_killed += 1
        found, found_snapshots, _ = pickle.loads((tmp_path / "outcome").read_bytes())
        assert_same(found, expected)
        assert_array_equal(found_snapshots, snapshots)
        assert list((tmp_path / "fits").iterdir()) == []
