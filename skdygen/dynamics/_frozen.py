"""A language model cut in two: a part that stays as it is, and a part that is trained.

The part that stays is computed once per text. What it gives, `Inputs`, is all that
training, recording and replaying read: token ids when every layer is trained, hidden
states when the top layers are, embeddings when none is.
"""

import copy
import logging
import math

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..utils._storage import allocate, batches
from ..utils._torch import autocast, fewer_rows
from ._ragged import Ragged, padded_length

logger = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 1024
# Of lengths on a GPU: kernels are chosen per shape, and are fastest at multiples. A
# processor gains more by padding to the longest text only.
_LENGTH_MULTIPLE = 8
_PROBE_TOLERANCE = 2e-2
_FIXED_TEXT = "The quick brown fox jumps over the lazy dog."
_TYPES = {True: torch.float32, False: torch.int64}


class Inputs:
    """What the trained part of the model reads, for a set of texts.

    Parameters
    ----------
    fields : dict of str to Ragged or ndarray
        Named inputs: sequences of tokens, or one row per text.
    lengths : ndarray of shape (n_samples,)
        Number of tokens of each text, to draw batches of like length; 1 if there is
        one row per text.
    constants : dict, default=None
        Inputs that are the same for all texts, such as the length of a prompt.
    multiple : int, default=1
        Batches are padded up to a multiple of this.
    """

    def __init__(self, fields, lengths, constants=None, multiple=1):
        self.fields = fields
        self.lengths = lengths
        self.constants = constants or {}
        self.multiple = multiple

    def __len__(self):
        return len(self.lengths)

    @property
    def has_tokens(self):
        """Whether texts are sequences of tokens here, and not one row each."""
        return any(isinstance(field, Ragged) for field in self.fields.values())

    def cut(self, rows, batch_size, max_tokens=None):
        """Yield some texts in batches.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,)
            Positions of the texts, those of like length next to each other.
        batch_size : int
            Number of texts of a batch, at most.
        max_tokens : int or None, default=None
            Number of tokens of a batch, padding included, at most; one text may have
            more. Texts that are no sequences of tokens have none.
        """
        for part in batches(len(rows), batch_size):
            batch, n_rows = rows[part], batch_size
            if max_tokens is not None and self.has_tokens:
                longest = padded_length(self.lengths[batch], self.multiple)
                n_rows = max(1, max_tokens // longest)
            for few in batches(len(batch), n_rows):
                yield batch[few]

    def batch(self, rows, device):
        """Return the inputs of some texts as tensors on a device, with their mask."""
        features = {}
        for name, field in self.fields.items():
            if isinstance(field, Ragged):
                field, mask = field.pad(rows, multiple=self.multiple)
                features["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
            else:
                field = field[rows]
            features[name] = torch.from_numpy(field)
        return self.constants | {
            name: tensor.to(device, _TYPES[tensor.is_floating_point()])
            for name, tensor in features.items()
        }


class Backbone:
    """A sentence-transformers model of which the top layers can be trained.

    Parameters
    ----------
    model : SentenceTransformer
        The model.
    trainable_layers : "all" or int
        "all", the number of transformer layers to train from the top, or 0.
        Of a model with fewer layers, all are trained.
    device : torch.device
        Where to compute the part that is not trained.
    dtype : torch.dtype or None
        Type of its matrix products, for `torch.autocast`.
    batch_size : int
        Number of texts computed together.
    max_tokens : int or None, default=None
        Number of tokens, padding included, above which there are fewer.
    max_nbytes, temp_folder
        When and where hidden states are memory-mapped, see `allocate`.
    verbose : int
        Show a progress bar if positive.

    Raises
    ------
    ValueError
        If the layers of the model are not found.
    """

    def __init__(
        self, model, trainable_layers, *, device, dtype, batch_size, max_tokens=None,
        max_nbytes=None, temp_folder=None, verbose=0,
    ):  # fmt: skip
        self.model = model.to(device)
        self.trainable_layers = trainable_layers
        self.device = device
        is_cpu = torch.device(device).type == "cpu"
        self.multiple = 1 if is_cpu else _length_multiple(model)
        self.dtype = dtype
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.max_nbytes = max_nbytes
        self.temp_folder = temp_folder
        self.verbose = verbose
        self.n_features = model.get_embedding_dimension()
        self.caches_layers = False
        if trainable_layers not in ("all", 0):
            self._layer_path, layers = _find_layers(model[0].model)
            if trainable_layers > len(layers):
                logger.info("the model has %d layers; all are trained", len(layers))
            self.trainable_layers = min(trainable_layers, len(layers))
            self.caches_layers = self._layer_cache_is_right()

    def encode(self, texts):
        """Compute the part that is not trained.

        Parameters
        ----------
        texts : list of str of length n_samples
            The texts.

        Returns
        -------
        inputs : Inputs of n_samples texts
            What the modules of `trained_part` read.
        """
        tokens = self._tokenize(texts)
        if self.trainable_layers == 0:
            return self._embed(tokens)
        if self.caches_layers:
            return self._run_lower_layers(tokens)
        return tokens

    def embed(self, inputs, embeddings):
        """Embed texts as the model did before the training, normalised if it does so.

        Parameters
        ----------
        inputs : Inputs of n_samples texts
            Output of `encode`.
        embeddings : ndarray of shape (n_samples, n_features)
            Filled with the embeddings.
        """
        if self.trainable_layers == 0:
            embeddings[:] = inputs.fields["sentence_embedding"]
            return
        normalize = list(self.model)[len(_without_normalize(self.model)) :]
        whole = nn.Sequential(self.trained_part(), *normalize).to(self.device).eval()
        for rows, output in self.infer(whole, inputs, desc="encoding"):
            embeddings[rows] = output["sentence_embedding"].float().cpu().numpy()

    @torch.no_grad()
    def infer(self, network, inputs, rows=None, *, desc=None):
        """Run a network on texts, longest first so that memory peaks at once.

        Of a batch that needs more memory than there is, half is tried.

        Parameters
        ----------
        network : callable
            Takes features as `Inputs.batch` gives them; in evaluation mode.
        inputs : Inputs of n_samples texts
            What it reads.
        rows : ndarray of shape (n_rows,), default=None
            Positions of the texts; None takes all.
        desc : str, default=None
            What a progress bar says, if there is to be one.

        Yields
        ------
        rows : ndarray
            Positions of the texts of each batch.
        output : object
            What the network gives for them.
        """
        rows = np.arange(len(inputs)) if rows is None else rows
        rest = rows[np.argsort(-inputs.lengths[rows], kind="stable")]
        n_rows = self.batch_size
        hidden = desc is None or not self.verbose
        with tqdm(total=len(rest), desc=desc, unit="text", disable=hidden) as progress:
            while len(rest):
                batch = next(inputs.cut(rest, n_rows, self.max_tokens))
                try:
                    with autocast(self.dtype, self.device):
                        output = network(inputs.batch(batch, self.device))
                except RuntimeError as error:
                    n_rows = fewer_rows(error, len(batch))
                    continue
                rest = rest[len(batch) :]
                yield batch, output
                progress.update(len(batch))

    @torch.no_grad()
    def fingerprint(self):
        """Embed a fixed text by the whole model, to tell it from others.

        Returns
        -------
        embedding : ndarray of shape (n_features,) of float32
            Scaled to length 1.
        """
        features = self._tokenize([_FIXED_TEXT]).batch(np.arange(1), self.device)
        embedding = self.model(features)["sentence_embedding"][0]
        return nn.functional.normalize(embedding.float(), dim=0).cpu().numpy()

    def trained_part(self):
        """Return a new copy of the trained part of the model.

        Returns
        -------
        module : nn.Module
            Takes features as `Inputs.batch` gives them and adds the key
            "sentence_embedding". Parameters that are not to be trained are shared
            between copies and do not require a gradient.
        """
        return self._upper_layers() if self.caches_layers else self._partly_frozen()

    def _tokenize(self, texts):
        """Token ids of each text, cut to the model's length but not padded."""
        prompt = self.model.prompts.get(self.model.default_prompt_name)
        flat, lengths, constants = {}, [], {}
        is_quick = len(texts) <= _TEXTS_AT_ONCE
        progress = tqdm(
            total=len(texts), desc="tokenising", unit="text",
            disable=is_quick or not self.verbose,
        )  # fmt: skip
        for part in batches(len(texts), _TEXTS_AT_ONCE):
            features = self.model.preprocess(texts[part], prompt=prompt)
            mask = features["attention_mask"].bool()
            lengths.append(mask.sum(dim=1).numpy())
            for name, values in features.items():
                if not torch.is_tensor(values):
                    constants[name] = values
                elif name != "attention_mask":
                    # Half the memory; a batch makes them long again.
                    flat.setdefault(name, []).append(values[mask].int().numpy())
            progress.update(len(mask))
        progress.close()
        lengths = np.concatenate(lengths)
        pad_id = self.model.tokenizer.pad_token_id or 0
        return Inputs(
            {
                name: Ragged(
                    np.concatenate(values),
                    lengths,
                    fill=pad_id if name == "input_ids" else 0,
                )
                for name, values in flat.items()
            },
            lengths,
            constants,
            self.multiple,
        )

    def _embed(self, tokens):
        embeddings = np.empty((len(tokens), self.n_features), dtype=np.float32)
        for rows, output in self.infer(self.model, tokens, desc="encoding"):
            embeddings[rows] = output["sentence_embedding"].float().cpu().numpy()
        lengths = np.ones(len(tokens), dtype=np.int64)
        return Inputs({"sentence_embedding": embeddings}, lengths)

    def _run_lower_layers(self, tokens):
        n_hidden = self.model[0].model.config.hidden_size
        flat = allocate(
            (int(tokens.lengths.sum()), n_hidden),
            np.float16,
            max_nbytes=self.max_nbytes,
            temp_folder=self.temp_folder,
        )
        hidden = Ragged(flat, tokens.lengths)
        lower = self._lower_hidden_states
        for rows, output in self.infer(lower, tokens, desc="encoding"):
            states = output.half().cpu().numpy()
            positions, mask = hidden.positions(rows)
            flat[positions[mask]] = states[:, : mask.shape[1]][mask]
        fields = {"inputs_embeds": hidden}
        return Inputs(fields, tokens.lengths, tokens.constants, tokens.multiple)

    def _lower_hidden_states(self, features):
        """Run the model up to its first trained layer, and give what enters there."""
        layer = self._layers(self.model[0].model)[-self.trainable_layers]
        handle = layer.register_forward_pre_hook(_stop_with_input, with_kwargs=True)
        try:
            self.model[0](features)
        except _Reached as reached:
            return reached.hidden_states
        finally:
            handle.remove()
        raise RuntimeError("the model did not reach the first trained layer.")

    def _upper_layers(self):
        """Copy the model without its lower layers; it starts from hidden states."""
        transformer, *rest = _without_normalize(self.model)
        # Copy what is trained only: the embeddings and lower layers are left out.
        left_out = [transformer.model.embeddings]
        left_out += self._layers(transformer.model)[: -self.trainable_layers]
        memo = {id(module): _PassHiddenStates() for module in left_out}
        upper = copy.deepcopy(transformer, memo)
        layers = self._layers(upper.model)[-self.trainable_layers :]
        upper.model.set_submodule(self._layer_path, nn.ModuleList(layers))
        self._freeze(upper.model)
        return nn.Sequential(upper, *copy.deepcopy(rest))

    def _partly_frozen(self):
        """Copy the model, sharing the part that is not trained with all copies."""
        modules = _without_normalize(self.model)
        frozen = self._freeze(modules[0].model)
        return nn.Sequential(*copy.deepcopy(modules, {id(p): p for p in frozen}))

    def _freeze(self, transformer):
        """Mark the parameters that are not trained, and return them."""
        if self.trainable_layers == "all":
            frozen = list(transformer.get_input_embeddings().parameters())
        else:
            trained = {
                id(parameter)
                for layer in self._layers(transformer)[-self.trainable_layers :]
                for parameter in layer.parameters()
            }
            frozen = [p for p in transformer.parameters() if id(p) not in trained]
        for parameter in frozen:
            parameter.requires_grad_(False)
        return frozen

    def _layers(self, transformer):
        return transformer.get_submodule(self._layer_path)

    def _layer_cache_is_right(self):
        """Compare the model cut in two with the whole one, on two short texts."""
        probe = self._tokenize(["a", "b c d e f g h i j k l m n o p q r s t u v"])
        rows = np.arange(2)
        try:
            with torch.no_grad():
                features = probe.batch(rows, self.device)
                whole = nn.Sequential(*_without_normalize(self.model))
                expected = whole(dict(features))["sentence_embedding"]
                states = self._lower_hidden_states(dict(features)).half().float()
                mask = features["attention_mask"]
                upper = {"inputs_embeds": states, "attention_mask": mask}
                upper |= probe.constants
                found = self._upper_layers().eval()(upper)["sentence_embedding"]
            error = (found - expected).abs().max() / expected.abs().max()
            problem = None if error < _PROBE_TOLERANCE else f"error {error:.2g}"
        # An architecture can refuse to be cut in any way; the whole model still works.
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            problem = repr(error)
        if problem is not None:
            logger.warning(
                "the lower layers of %s are computed anew in every epoch, since the "
                "model cannot be cut in two: %s",
                type(self.model[0].model).__name__,
                problem,
            )
        return problem is None


def _length_multiple(model):
    """Of what lengths are to be multiples, so that none is beyond the last position."""
    n_positions = getattr(model[0].model.config, "max_position_embeddings", None)
    longest = model.max_seq_length or n_positions
    if (
        n_positions is None
        or math.ceil(longest / _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE <= n_positions
    ):
        return _LENGTH_MULTIPLE
    return math.gcd(longest, _LENGTH_MULTIPLE)


class _Reached(Exception):  # noqa: N818, it is no error
    def __init__(self, hidden_states):
        self.hidden_states = hidden_states


def _stop_with_input(module, args, kwargs):
    raise _Reached(args[0] if args else kwargs["hidden_states"])


class _PassHiddenStates(nn.Module):
    """Stands where the embeddings were and passes on the hidden states it is given."""

    def forward(self, *args, **kwargs):
        for value in (*args, *kwargs.values()):
            if torch.is_tensor(value) and value.is_floating_point():
                return value
        raise TypeError("hidden states are expected among the inputs.")


def _without_normalize(model):
    """Modules of the model; heads read the embedding before it is normalised."""
    modules = list(model)
    while type(modules[-1]).__name__ == "Normalize":
        modules.pop()
    return modules


def _find_layers(transformer):
    """Path and list of a transformer's layers."""
    n_layers = transformer.config.num_hidden_layers
    for path, module in transformer.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return path, module
    raise ValueError(
        f"trainable_layers: the {n_layers} layers of {type(transformer).__name__} were "
        f"not found; use trainable_layers='all' or 0."
    )
