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
from sklearn.preprocessing import normalize
from sklearn.utils import gen_batches
from torch import nn

from .._memmap import allocate
from .._progress import bar
from .._torch import autocast, fewer_rows
from ._encoders import as_embeddings, check_embeddings
from ._windows import add_rest

logger = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 1024
_EMBEDDED_AT_ONCE = 2**16  # by a function, which may keep much for each text
# Of lengths on a GPU: kernels are chosen per shape, and are fastest at multiples. A CPU
# gains more by padding to the longest text only.
_LENGTH_MULTIPLE = 8
# Texts without gradients on a GPU, which has room for them, for each text with them.
# What a CPU computes at once had better fit its caches.
_INFERENCE_BATCHES = 4
_PROBE_TOLERANCE = 2e-2
_FIXED_TEXT = "The quick brown fox jumps over the lazy dog."
_TYPES = {True: torch.float32, False: torch.int64}


def padded_length(lengths, multiple):
    """Length that sequences are padded to: the longest, up to the next multiple."""
    return max(1, math.ceil(lengths.max() / multiple)) * multiple


class Ragged:
    """Sequences of unequal length, one after the other in a flat (n_items, ...).

    `fill` is the item that `pad` puts behind short sequences.
    """

    def __init__(self, flat, lengths, fill=0):
        # A tokeniser can leave nothing of texts; there has to be an item to mask.
        self.flat = (
            flat if len(flat) else np.full((1, *flat.shape[1:]), fill, flat.dtype)
        )
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.fill = fill

    def __len__(self):
        return len(self.lengths)

    def positions(self, rows, *, multiple=1):
        """Where the items of some sequences lie in `flat`, and which there are.

        Both (n_rows, length), the longest rounded up to a multiple; 0 where there is
        no item.
        """
        lengths = self.lengths[rows]
        steps = np.arange(padded_length(lengths, multiple))
        mask = steps < lengths[:, None]
        return np.where(mask, self.starts[rows][:, None] + steps, 0), mask

    def pad(self, rows, *, multiple=1):
        """Some sequences, filled up, as (n_rows, length, ...), and which items are."""
        positions, mask = self.positions(rows, multiple=multiple)
        padded = self.flat[positions]
        padded[~mask] = self.fill
        return padded, mask


class Inputs:
    """What the trained part of the model reads, for a set of texts.

    Named fields are `Ragged` sequences of tokens, or arrays of one row per text;
    `lengths` counts the tokens of each text, (n_samples,); `constants` are inputs that
    all texts have in common; batches are padded up to a multiple of `multiple`.
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
        """Yield rows, those of like length side by side, in batches.

        A batch has at most so many texts, and tokens with padding unless one text has
        more.
        """
        for part in gen_batches(len(rows), batch_size):
            batch, n_rows = rows[part], batch_size
            if max_tokens is not None and self.has_tokens:
                longest = padded_length(self.lengths[batch], self.multiple)
                n_rows = max(1, max_tokens // longest)
            for few in gen_batches(len(batch), n_rows):
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


class Encoder:
    """Gives an embedding for each text, by a function, and is not trained.

    The function takes a list of texts and gives an array, a row for each.
    """

    def __init__(self, embed_texts, stage, device):
        self._set_up(stage, device)
        self._embed_texts = embed_texts
        found = as_embeddings(embed_texts, [_FIXED_TEXT])
        self.n_features = found.shape[1]
        # Some have no numbers for words that none of the texts has.
        self._fingerprint = normalize(np.nan_to_num(found, posinf=0, neginf=0))[0]

    def _set_up(self, stage, device):
        """Take over how a stage wants things to be computed."""
        self.device, self.precision = device, stage.precision_
        n_batches = 1 if device.type == "cpu" else _INFERENCE_BATCHES
        self.batch_size = stage.batch_size * n_batches
        self.max_tokens = stage.max_tokens and stage.max_tokens * n_batches
        self.storage = {
            "max_nbytes": stage.max_nbytes,
            "temp_folder": stage.temp_folder,
        }
        self.verbose = stage.verbose

    def encode(self, texts):
        """Compute the part that is not trained; give what the trained part reads."""
        embeddings = self._allocate(texts)
        for part in gen_batches(len(texts), _EMBEDDED_AT_ONCE):
            few = texts[part]
            found = as_embeddings(self._embed_texts, few, self.n_features)
            check_embeddings(found, few)
            embeddings[part] = found
        return _one_row_each(embeddings)

    def _allocate(self, texts):
        """Return an array for the embeddings of texts."""
        shape = (len(texts), self.n_features)
        return allocate(shape, np.float32, **self.storage)

    def embed(self, texts, inputs, embeddings):
        """Fill in the embeddings of texts; inputs come from `encode`."""
        embeddings[:] = inputs.fields["sentence_embedding"]

    def identity(self, inputs):
        """Return what tells this encoder from others, beside its parameters."""
        return inputs.fields["sentence_embedding"]

    def fingerprint(self):
        """Embedding of a fixed text, scaled to length 1, to tell encoders apart."""
        return self._fingerprint

    @torch.no_grad()
    def infer(self, network, inputs, rows=None, *, desc=None):
        """Yield rows and what a network in evaluation mode gives for them, in batches.

        The longest texts come first, so that memory peaks at once; of a batch that
        needs more memory than there is, half is tried. `rows` None takes all texts,
        and `desc` is what a progress bar says, if there is to be one.
        """
        rows = np.arange(len(inputs)) if rows is None else rows
        rest = rows[np.argsort(-inputs.lengths[rows], kind="stable")]
        # One row of numbers each: what is computed costs less than to ask for it.
        n_rows = self.batch_size if inputs.has_tokens else _TEXTS_AT_ONCE
        shown = desc is not None and self.verbose
        with bar(total=len(rest), desc=desc, unit="text", verbose=shown) as progress:
            while len(rest):
                batch = next(inputs.cut(rest, n_rows, self.max_tokens))
                try:
                    with autocast(self.precision, self.device):
                        output = network(inputs.batch(batch, self.device))
                except RuntimeError as error:
                    n_rows = fewer_rows(error, len(batch))
                    continue
                rest = rest[len(batch) :]
                yield batch, output
                progress.update(len(batch))


class Backbone(Encoder):
    """A sentence-transformers model of which the top layers can be trained.

    It is moved to the device, where the part that is not trained is computed once per
    text; one of another backend than torch stays where it is. Of a model with fewer
    layers than `stage.trainable_layers` all are trained. A ValueError says that its
    layers are not found.
    """

    def __init__(self, model, stage, device):
        self.is_of_torch = model.get_backend() == "torch"
        device = device if self.is_of_torch else model.device
        self._set_up(stage, device)
        self.model = model.to(device)
        self.trainable_layers = trainable_layers = stage.trainable_layers
        self.multiple = 1 if device.type == "cpu" else _length_multiple(model)
        self.max_windows = stage.max_windows
        self.normalizes = len(_without_normalize(model)) < len(model)
        self.n_features = model.get_embedding_dimension()
        self.caches_layers = False
        if trainable_layers not in ("all", 0):
            self._layer_path, layers = _find_layers(model[0].model)
            if trainable_layers > len(layers):
                logger.info("the model has %d layers; all are trained", len(layers))
            self.trainable_layers = min(trainable_layers, len(layers))
            self.caches_layers = self._layer_cache_is_right()

    def encode(self, texts):
        """Compute the part that is not trained; give what `trained_part` reads."""
        tokens = self.tokenize(texts)
        if self.trainable_layers == 0:
            embeddings = self._allocate(texts)
            self._embed(texts, tokens, self.model, embeddings)
            return _one_row_each(embeddings)
        if self.caches_layers:
            return self._run_lower_layers(tokens)
        return tokens

    def embed(self, texts, inputs, embeddings):
        """Fill in the embeddings of texts by the model as it was before the training.

        They are normalised if the model does so; inputs come from `encode`.
        """
        if self.trainable_layers == 0:
            super().embed(texts, inputs, embeddings)
            return
        last = list(self.model)[len(_without_normalize(self.model)) :]
        whole = nn.Sequential(self.trained_part(), *last).to(self.device).eval()
        self._embed(texts, inputs, whole, embeddings)

    def fill(self, embeddings, network, inputs, *, desc=None):
        """Fill in what a network gives as embeddings; see `infer`."""
        for rows, output in self.infer(network, inputs, desc=desc):
            embeddings[rows] = output["sentence_embedding"].float().cpu().numpy()

    def identity(self, inputs):
        """Return the language model, which is hashed as it was loaded.

        One of another backend than torch shows no weights.
        """
        return self.model if self.is_of_torch else super().identity(inputs)

    @torch.no_grad()
    def fingerprint(self):
        """Embed a fixed text by the whole model, scaled to length 1, to tell models."""
        features = self.tokenize([_FIXED_TEXT]).batch(np.arange(1), self.device)
        embedding = self.model(features)["sentence_embedding"][0]
        return nn.functional.normalize(embedding.float(), dim=0).cpu().numpy()

    def tokenize(self, texts):
        """Token ids of each text, cut to the model's length but not padded."""
        prompt = self.model.prompts.get(self.model.default_prompt_name)
        flat, lengths, constants = {}, [], {}
        is_quick = len(texts) <= _TEXTS_AT_ONCE
        progress = bar(
            total=len(texts), desc="tokenising", unit="text",
            verbose=self.verbose and not is_quick,
        )  # fmt: skip
        for part in gen_batches(len(texts), _TEXTS_AT_ONCE):
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
        fill = {"input_ids": self.model.tokenizer.pad_token_id or 0}
        fields = {
            name: Ragged(np.concatenate(values), lengths, fill.get(name, 0))
            for name, values in flat.items()
        }
        return Inputs(fields, lengths, constants, self.multiple)

    def trained_part(self):
        """Return a new copy of the trained part, which adds "sentence_embedding".

        Parameters that are not trained are shared between copies and need no gradient.
        """
        return self._upper_layers() if self.caches_layers else self._partly_frozen()

    def _embed(self, texts, inputs, network, embeddings):
        """Fill in embeddings: of what a network reads of texts, and of the rest."""
        self.fill(embeddings, network, inputs, desc="encoding")
        full = np.flatnonzero(inputs.lengths == self.model.max_seq_length)
        if self.max_windows > 1 and len(full):  # shorter texts have not been cut
            add_rest(self, texts, inputs.lengths, full, embeddings)

    def _run_lower_layers(self, tokens):
        """Hidden states of each token in front of the first trained layer."""
        n_hidden = self.model[0].model.config.hidden_size
        shape = (int(tokens.lengths.sum()), n_hidden)
        flat = allocate(shape, np.float16, **self.storage)
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
        """List of a transformer's layers."""
        return transformer.get_submodule(self._layer_path)

    def _layer_cache_is_right(self):
        """Compare the model cut in two with the whole one, on two short texts."""
        probe = self.tokenize(["a", "b c d e f g h i j k l m n o p q r s t u v"])
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
                type(self.model[0].model).__name__, problem,
            )  # fmt: skip
        return problem is None


def _one_row_each(embeddings):
    """Make inputs of embeddings, which stand for whole texts."""
    lengths = np.ones(len(embeddings), dtype=np.int64)
    return Inputs({"sentence_embedding": embeddings}, lengths)


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
