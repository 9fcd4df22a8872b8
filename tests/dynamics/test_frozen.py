import logging

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdygen._memmap import folder_of_mapped
from skdygen._torch import seeded
from skdygen.dynamics._frozen import Backbone, Inputs, Ragged, _length_multiple
from skdygen.dynamics._hub import load_sentence_transformer
from skdygen.dynamics._networks import Branch
from tests.conftest import make_word_texts, save_tiny_model
from tests.dynamics.conftest import make_dynamics

TEXTS = make_word_texts(10)[0] + ["cat", ""]
CPU = torch.device("cpu")


def make_backbone(folder, trainable_layers, *, max_length=None, **params):
    stage = make_dynamics(folder, trainable_layers=trainable_layers, **params)
    stage.precision_ = "fp32"
    return Backbone(
        load_sentence_transformer(folder, max_length=max_length), stage, CPU
    )


def embed(backbone, texts=TEXTS):
    """Embed by the trained part, as its heads see it, in one batch."""
    with torch.no_grad():
        inputs = backbone.encode(texts)
        body = backbone.trained_part().eval()
        features = inputs.batch(np.arange(len(texts)), CPU)
        return body(features)["sentence_embedding"].numpy()


@pytest.mark.parametrize(
    ("trainable_layers", "include_prompt"),
    [(0, True), (1, False), (1, True), ("all", False)],
)
def test_embeddings_are_those_of_sentence_transformers(
    tiny_model, tmp_path, trainable_layers, include_prompt
):
    model = load_sentence_transformer(tiny_model)
    plain = model.encode(TEXTS)
    model.prompts = {"query": "the old "}
    model.default_prompt_name = "query"
    model.set_pooling_include_prompt(include_prompt)
    model.save(str(tmp_path))
    expected = model.encode(TEXTS)
    assert not np.allclose(expected, plain)
    backbone = make_backbone(str(tmp_path), trainable_layers)
    found = np.empty_like(expected)
    backbone.embed(TEXTS, backbone.encode(TEXTS), found)
    assert_allclose(found, expected, atol=2e-3)


def test_many_embeddings_are_mapped(tiny_model, tmp_path):
    backbone = make_backbone(tiny_model, 0, max_nbytes=0, temp_folder=str(tmp_path))
    found = backbone.encode(TEXTS).fields["sentence_embedding"]
    assert folder_of_mapped(found) == tmp_path
    in_memory = make_backbone(tiny_model, 0).encode(TEXTS).fields["sentence_embedding"]
    assert_array_equal(found, in_memory)


FAMILIES = {
    "Bert": {}, "Roberta": {}, "MPNet": {}, "DistilBert": {},
    "ModernBert": {
        "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
        "local_attention": 4, "global_attn_every_n_layers": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_models(family, tmp_path):
    folder = save_tiny_model(tmp_path, kind=family, n_layers=3, **FAMILIES[family])
    whole, cut = make_backbone(folder, "all"), make_backbone(folder, 2)
    assert cut.caches_layers
    mapped = make_backbone(folder, 2, max_nbytes=0)
    for backbone in (cut, mapped):
        assert_allclose(embed(backbone), embed(whole), atol=5e-3)
    trained = [p.shape for p in cut.trained_part().parameters() if p.requires_grad]
    layers = cut._layers(cut.model[0].model)[-2:]
    assert trained == [p.shape for layer in layers for p in layer.parameters()]
    # All is all but the table of word embeddings, which copies share.
    one, two = whole.trained_part(), whole.trained_part()
    (table,) = (p for p in one.parameters() if not p.requires_grad)
    assert table is one[0].model.get_input_embeddings().weight
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
    one, two = backbone.trained_part(), backbone.trained_part()
    others = dict(two.named_parameters())
    for name, parameter in one.named_parameters():
        assert parameter.requires_grad == ("layer.1." in name)
        assert (parameter is others[name]) == (not parameter.requires_grad)
    # Nothing is dropped from what is not trained.
    with seeded(0):
        branch = Branch(one, 32, 2, 0.1).train()
    lower, upper = backbone._layers(branch.body[0].model)
    assert (lower.training, upper.training) == (False, True)
    whole = make_backbone(tiny_model, "all")
    assert_allclose(embed(backbone), embed(whole), atol=1e-6)


def test_of_a_model_with_fewer_layers_all_are_trained(tiny_model, caplog):
    with caplog.at_level("INFO", logger="skdygen"):
        backbone = make_backbone(tiny_model, 3)
    assert backbone.trainable_layers == 2
    assert "the model has 2 layers; all are trained" in caplog.text


def test_texts_are_cut_at_max_length(tiny_model):
    backbone = make_backbone(tiny_model, "all", max_length=5)
    assert backbone.encode(["cat " * 20, "dog"]).lengths.tolist() == [5, 3]


@pytest.mark.parametrize(("n_positions", "expected"), [(64, 8), (60, 4), (61, 1)])
def test_no_text_is_padded_beyond_the_last_position(n_positions, expected, tmp_path):
    """Which lengths that are multiples of 8, as on a GPU, could do."""
    folder = save_tiny_model(tmp_path, max_position_embeddings=n_positions)
    model = load_sentence_transformer(folder)
    longest = min(64, n_positions)
    assert model.max_seq_length == longest
    assert _length_multiple(model) == expected
    backbone = make_backbone(folder, "all", max_windows=1)
    backbone.multiple = expected
    texts = ["cat " * 100, "cat " * (longest - 3), "cat"]
    embeddings = np.empty((3, 32), np.float32)
    backbone.embed(texts, backbone.encode(texts), embeddings)
    assert_allclose(embeddings, model.encode(texts), atol=1e-5)


@pytest.mark.parametrize(("multiple", "n_fives"), [(1, 4), (8, 2)])
def test_batches_of_few_tokens(multiple, n_fives):
    lengths = np.array([5] * 12 + [*range(1, 100)])
    ids = np.zeros(lengths.sum(), dtype=np.int32)
    inputs = Inputs({"input_ids": Ragged(ids, lengths)}, lengths, multiple=multiple)
    drawn = list(inputs.cut(np.arange(111), 10, max_tokens=20))
    assert_array_equal(np.concatenate(drawn), np.arange(111))
    shapes = [inputs.batch(few, CPU)["input_ids"].shape for few in drawn]
    assert shapes[0] == (n_fives, 5 if multiple == 1 else 8)
    n_rows, padded = np.array(shapes).T
    assert (padded % multiple == 0).all()
    assert ((n_rows * padded)[n_rows > 1] <= 20).all()  # one text may be longer
    # What is no sequence of tokens has none.
    rows = Inputs({"sentence_embedding": np.ones((30, 4))}, np.ones(30, dtype=int))
    assert [len(b) for b in rows.cut(np.arange(30), 10, max_tokens=1)] == [10, 10, 10]
