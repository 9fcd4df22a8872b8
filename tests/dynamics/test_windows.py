"""Texts that are longer than what the model reads at once."""

import pickle

import numpy as np
import pytest
import transformers
from numpy.testing import assert_allclose, assert_array_equal
from sentence_transformers import SentenceTransformer

from skdygen.dynamics import _windows
from skdygen.dynamics._hub import load_sentence_transformer
from tests.conftest import make_word_texts
from tests.dynamics.conftest import assert_same, make_dynamics

ROOM = 8  # words in a window of ten tokens
SHORT, LABELS = make_word_texts(12)
WORDS = " ".join(SHORT * 3).split()
# Ends in the first window, with it, in later ones, and behind the last; and no text.
N_WORDS = [3, 8, 9, 16, 23, 24, 25, 40, 100]
TEXTS = [" ".join(WORDS[:n]) for n in N_WORDS] + ["", *SHORT[:2]]
IS_LONG = np.array([len(text.split()) > ROOM for text in TEXTS])


def make_windowed(model, **params):
    """Make a stage that reads ten tokens at once, and three windows."""
    settings = {"max_length": ROOM + 2, "max_windows": 3, "n_epochs": 1}
    return make_dynamics(model, **(settings | params))


@pytest.mark.parametrize("trainable_layers", [0, 1, "all"])
def test_what_follows_the_first_window_is_known(tiny_model, trainable_layers):
    windowed = make_windowed(tiny_model, trainable_layers=trainable_layers)
    found = windowed.fit_transform(TEXTS, LABELS)
    cut = make_windowed(tiny_model, trainable_layers=trainable_layers, max_windows=1)
    first = cut.fit_transform(TEXTS, LABELS)
    moved = np.abs(found.views["initial"] - first.views["initial"]).max(axis=1)
    assert_array_equal(moved != 0, IS_LONG)
    assert_array_equal(found.views["initial"][8], found.views["initial"][7])
    # What is trained reads that, or the first window only.
    is_same = windowed.snapshots_ == cut.snapshots_
    assert is_same == (trainable_layers != 0)
    again = pickle.loads(pickle.dumps(windowed))
    assert_same(again.transform(TEXTS), found)
    new = again.transform([TEXTS[5], TEXTS[5] + " " + TEXTS[3]])
    assert_allclose(*new.views["initial"], atol=1e-3)
    assert_allclose(*first.views["initial"][[5, 8]], atol=1e-3)


@pytest.mark.parametrize("prompt", ["", "the old "])
@pytest.mark.parametrize("n_modules", [2, 3])
def test_the_mean_is_that_of_embedded_pieces(
    tiny_model, monkeypatch, n_modules, prompt
):
    monkeypatch.setattr(_windows, "_WINDOWS_AT_ONCE", 6)  # of two texts
    modules = list(SentenceTransformer(tiny_model, device="cpu"))
    model = SentenceTransformer(
        modules=modules[:n_modules], device="cpu",
        prompts={"all": prompt}, default_prompt_name="all",
    )  # fmt: skip
    room = ROOM - len(prompt.split())
    expected = []
    for text in TEXTS:
        words = text.split()
        pieces = [words[i : i + room] for i in range(0, len(words), room)][:3] or [[]]
        embedded = model.encode([" ".join(piece) for piece in pieces])
        n_tokens = [len(piece) + ROOM - room + 2 for piece in pieces]
        expected.append(np.average(embedded, axis=0, weights=n_tokens))
    if n_modules == 3:  # the last of which normalises
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for layers in (0, 1):
        dynamics = make_windowed(model, trainable_layers=layers)
        found = dynamics.fit_transform(TEXTS, LABELS).views["initial"]
        assert_allclose(found, expected, atol=2e-3)


def test_tokens_are_read_once_and_up_to_the_last_window(tiny_model, monkeypatch):
    forward, n_read = transformers.BertModel.forward, 0

    def counted(self, input_ids=None, attention_mask=None, **kwargs):
        nonlocal n_read
        n_read += int(attention_mask.sum())
        return forward(self, input_ids, attention_mask, **kwargs)

    dynamics = make_windowed(tiny_model, trainable_layers=0).fit(TEXTS, LABELS)
    dynamics.transform(["cat"])  # its networks are there now
    monkeypatch.setattr(transformers.BertModel, "forward", counted)
    for n_words in (0, 3, 8, 9, 24, 25, 1000):
        n_read, n_known = 0, min(n_words, 3 * ROOM)
        dynamics.transform(["cat " * n_words])
        assert n_read == n_known + 2 * max(1, -(-n_known // ROOM))


@pytest.mark.parametrize(
    ("max_length", "is_fast", "side"),
    [(10, True, "left"), (10, False, "right"), (2, True, "right")],
)
def test_texts_that_cannot_be_split_are_cut(
    tiny_model, monkeypatch, caplog, max_length, is_fast, side
):
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "is_fast", is_fast)
    model = SentenceTransformer(tiny_model, device="cpu")
    model.tokenizer.truncation_side = side
    with caplog.at_level("INFO", logger="skdygen"):
        windowed, cut = (
            make_windowed(model, max_length=max_length, max_windows=n)
            .fit_transform(TEXTS, LABELS)
            .views["initial"]
            for n in (3, 1)
        )
    assert_array_equal(windowed, cut)
    told = [r for r in caplog.records if "long texts cannot be split" in r.message]
    assert len(told) == 1


def test_pieces_leave_nothing_out():
    text = "Donaudampfschiff \N{ROCKET}\N{ROCKET}, naïve  İstanbul\n日本語 [SEP]" * 9
    tokenizer = load_sentence_transformer("all-MiniLM-L6-v2").tokenizer
    for room in (1, 2, 7):
        pieces, owners = _windows.split_rest(
            tokenizer, ["", text, "cat", text], room, 10_000
        )
        assert set(owners) == {1, 3}
        rest = "".join(
            piece for piece, owner in zip(pieces, owners, strict=True) if owner == 1
        )
        assert 1 <= len(text) - len(rest) < 20
        assert text.endswith(rest)
