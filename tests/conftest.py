"""Fixtures: a tiny language model made at run time, and small data.

At the end of a run of all tests: has every constructor parameter had another value than
its default in some fit?
"""

import inspect
import os
import pickle

os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

import skdygen
from skdygen import Trajectories, denoisers, dynamics, priors
from skdygen.datasets import make_label_noise

# With more threads than one, tiny models run ten times slower.
torch.set_num_threads(1)

WORDS = {
    "animal": ["cat", "dog", "horse", "mouse", "owl", "fox"],
    "fruit": ["apple", "pear", "plum", "cherry", "melon", "lime"],
    "tool": ["hammer", "saw", "drill", "pliers", "wrench", "file"],
}
FILLER = ["the", "a", "one", "old", "new", "and", "with", "some"]


def make_word_texts(n_samples, classes=("animal", "fruit"), seed=0):
    """Make texts of three words of their class among fillers, and their classes."""
    rng = np.random.RandomState(seed)
    labels = np.array(classes)[rng.permutation(np.arange(n_samples) % len(classes))]
    texts = []
    for label in labels:
        words = [*rng.choice(WORDS[label], 3), *rng.choice(FILLER, rng.randint(1, 6))]
        texts.append(" ".join(rng.permutation(words)))
    return texts, labels


def save_tiny_model(folder, *, n_layers=2, config=None, words=(), seed=0):
    """Save a random sentence-transformers model with a word-level tokeniser."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *FILLER]
    words += [word for group in WORDS.values() for word in group]
    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    if config is None:
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=n_layers,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    plain = folder / "transformer"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModel.from_config(config).save_pretrained(plain)
    fast.save_pretrained(plain)
    transformer = modules.Transformer(str(plain))
    pooling = modules.Pooling(transformer.get_embedding_dimension(), "mean")
    SentenceTransformer(
        modules=[transformer, pooling, modules.Normalize()], device="cpu"
    ).save(str(folder / "model"))
    return str(folder / "model")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a random BERT of two layers, 32 wide."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def word_texts():
    """Give 120 texts of two classes, their labels, and the same 30 % wrong."""
    texts, labels = make_word_texts(120)
    noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    return texts, labels, noisy


@pytest.fixture
def random_trajectories():
    """Trajectories of random numbers: 40 texts, 2 branches, 3 epochs, 5 wide."""
    rng = np.random.RandomState(0)
    return Trajectories(
        rng.randn(40, 2, 3, 5).astype(np.float32),
        rng.dirichlet(np.ones(4), size=(40, 2, 3)).astype(np.float32),
        classes=np.array(["a", "b", "c", "d"]),
    )


@pytest.fixture(autouse=True)
def leaves_global_state_alone():
    """Fail a test after which random states or torch's number of threads are others."""
    numpy_state = pickle.dumps(np.random.get_state())
    torch_state = torch.get_rng_state()
    yield
    assert pickle.dumps(np.random.get_state()) == numpy_state
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.get_num_threads() == 1


# The same examples each time; `pytest --hypothesis-profile long` draws many others.
hypothesis.settings.register_profile("default", max_examples=60, derandomize=True)
hypothesis.settings.register_profile("long", max_examples=10_000)
hypothesis.settings.load_profile("default")


_PARAMETERS = {
    (cls, name): parameter.default
    for module in (skdygen, dynamics, priors, denoisers)
    for cls in map(vars(module).get, module.__all__)
    if inspect.isclass(cls) and issubclass(cls, BaseEstimator)
    for name, parameter in inspect.signature(cls).parameters.items()
}
_exercised = set()
_validate = BaseEstimator._validate_params


def _validate_and_note(self):
    _validate(self)
    for cls, name in _PARAMETERS:
        if isinstance(self, cls) and (cls, name) not in _exercised:
            value, default = getattr(self, name), _PARAMETERS[cls, name]
            is_default = value is default or (
                type(value) is type(default) and value == default
            )
            if not is_default:
                _exercised.add((cls, name))


BaseEstimator._validate_params = _validate_and_note


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Gather what a process of pytest-xdist has seen."""
    seen = getattr(node, "workeroutput", {}).get("exercised", ())
    of_name = {f"{cls.__name__}.{name}": (cls, name) for cls, name in _PARAMETERS}
    _exercised.update(of_name[name] for name in seen)


def pytest_sessionfinish(session, exitstatus):
    """Fail a run of all tests in which a parameter had its default everywhere."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["exercised"] = [
            f"{cls.__name__}.{name}" for cls, name in _exercised
        ]
        return
    is_whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    option = session.config.option
    # Without the cache plugin there is no `--last-failed`.
    chosen = option.keyword or option.markexpr or getattr(option, "lf", False)
    if exitstatus != 0 or not is_whole or chosen:
        return
    never = [
        f"{cls.__name__}({name}=)" for cls, name in _PARAMETERS.keys() - _exercised
    ]
    if never:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"\nNo test fits: {', '.join(sorted(never))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
