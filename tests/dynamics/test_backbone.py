import logging

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose

from skdygen.dynamics._backbone import Backbone, _length_multiple
from skdygen.dynamics._models import load_sentence_transformer
from tests.conftest import make_word_texts, save_tiny_model

TEXTS = make_word_texts(10)[0] + ["cat", ""]
CPU = torch.device("cpu")


def make_backbone(folder, trainable_layers, **params):
    return Backbone(
        load_sentence_transformer(folder),
        trainable_layers,
        device=CPU,
        dtype=None,
        batch_size=4,
        **params,
    )


def embed(backbone, texts=TEXTS):
    with torch.no_grad():
        inputs = backbone.encode(texts)
        body = backbone.trained_part().eval()
        features = inputs.batch(np.arange(len(texts)), CPU)
        return body(features)["sentence_embedding"].numpy()


@pytest.mark.parametrize("trainable_layers", [1, 2])
@pytest.mark.parametrize("max_nbytes", [None, 0])
def test_cached_layers_give_what_the_whole_model_gives(
    tiny_model, trainable_layers, max_nbytes
):
    cut = make_backbone(tiny_model, trainable_layers, max_nbytes=max_nbytes)
    assert cut.caches_layers
    expected = embed(make_backbone(tiny_model, "all"))
    assert_allclose(embed(cut), expected, atol=2e-3)


@pytest.mark.parametrize("trainable_layers", [0, 1, "all"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_embeddings_are_those_of_sentence_transformers(
    tiny_model, tmp_path, trainable_layers, include_prompt
):
    model = load_sentence_transformer(tiny_model)
    model.prompts = {"query": "the old "}
    model.default_prompt_name = "query"
    model.set_pooling_include_prompt(include_prompt)
    model.save(str(tmp_path / "prompted"))
    expected = model.encode(TEXTS)
    assert not np.allclose(
        expected, load_sentence_transformer(tiny_model).encode(TEXTS)
    )
    backbone = make_backbone(str(tmp_path / "prompted"), trainable_layers)
    if trainable_layers == 0:
        found = backbone.encode(TEXTS).fields["sentence_embedding"]
    else:
        found = embed(backbone)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert_allclose(found, expected, atol=2e-3)


SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3,
    "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip
FAMILIES = {
    "bert": transformers.BertConfig(**SIZES),
    "roberta": transformers.RobertaConfig(**SIZES, pad_token_id=0),
    "mpnet": transformers.MPNetConfig(**SIZES, pad_token_id=0),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=50, dim=32, n_layers=3, n_heads=2, hidden_dim=64,
        max_position_embeddings=64,
    ),
    "modernbert": transformers.ModernBertConfig(
        **SIZES, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2,
        sep_token_id=3, local_attention=4, global_attn_every_n_layers=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_models_can_be_cut(family, tmp_path):
    folder = save_tiny_model(tmp_path, config=FAMILIES[family])
    expected = embed(make_backbone(folder, "all"))
    backbone = make_backbone(folder, 2)
    assert backbone.caches_layers
    assert_allclose(embed(backbone), expected, atol=5e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_is_all_but_the_table_of_word_embeddings(family, tmp_path):
    backbone = make_backbone(save_tiny_model(tmp_path, config=FAMILIES[family]), "all")
    one, two = backbone.trained_part(), backbone.trained_part()
    frozen = [p for p in one.parameters() if not p.requires_grad]
    assert [tuple(p.shape) for p in frozen] == [(50, 32)]
    assert frozen[0] is one[0].model.get_input_embeddings().weight
    for left, right in zip(one.parameters(), two.parameters(), strict=True):
        assert (left is right) == (not left.requires_grad)


def test_a_model_that_cannot_be_cut_is_computed_whole(tiny_model, monkeypatch, caplog):
    def refuse(self):
        raise AttributeError("no embeddings here")

    monkeypatch.setattr(Backbone, "_upper_layers", refuse)
    with caplog.at_level(logging.WARNING):
        backbone = make_backbone(tiny_model, 1)
    assert not backbone.caches_layers
    assert "computed anew in every epoch" in caplog.text
    monkeypatch.undo()
    whole = make_backbone(tiny_model, "all")
    assert_allclose(embed(backbone), embed(whole), atol=1e-6)


@pytest.mark.parametrize("cut", [True, False])
def test_only_the_top_layers_are_trained(tiny_model, cut):
    backbone = make_backbone(tiny_model, 1)
    backbone.caches_layers = cut
    body = backbone.trained_part()
    trained = {name for name, p in body.named_parameters() if p.requires_grad}
    assert trained
    layer = "layer.0." if cut else "layer.1."
    assert all(layer in name for name in trained)


def test_copies_share_what_is_not_trained(tiny_model):
    backbone = make_backbone(tiny_model, 1)
    backbone.caches_layers = False
    one, two = backbone.trained_part(), backbone.trained_part()
    for (name, left), right in zip(
        one.named_parameters(), two.parameters(), strict=True
    ):
        assert (left is right) == (not left.requires_grad), name


def test_of_a_model_with_fewer_layers_all_are_trained(tiny_model, caplog):
    with caplog.at_level("INFO", logger="skdygen"):
        backbone = make_backbone(tiny_model, 3)
    assert backbone.trainable_layers == 2
    assert "the model has 2 layers; all are trained" in caplog.text


def test_texts_are_cut_at_max_length(tiny_model):
    model = load_sentence_transformer(tiny_model, max_length=5)
    backbone = Backbone(model, "all", device=CPU, dtype=None, batch_size=4)
    assert backbone.encode(["cat " * 20, "dog"]).lengths.tolist() == [5, 3]


@pytest.mark.parametrize("n_positions", [64, 60, 61])
def test_no_text_is_padded_beyond_the_last_position(n_positions, tmp_path):
    """Which lengths that are multiples of 8, as on a GPU, could do."""
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=n_positions,
    )
    model = load_sentence_transformer(save_tiny_model(tmp_path, config=config))
    longest = min(64, n_positions)
    assert model.max_seq_length == longest
    multiple = _length_multiple(model)
    assert multiple == {64: 8, 60: 4, 61: 1}[n_positions]
    backbone = make_backbone(str(tmp_path / "model"), "all")
    backbone.multiple = multiple
    texts = ["cat " * 100, "cat " * (longest - 3), "cat"]
    embeddings = np.empty((3, 32), np.float32)
    backbone.embed(backbone.encode(texts), embeddings)
    assert_allclose(embeddings, model.encode(texts), atol=1e-5)
