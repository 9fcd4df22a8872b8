"""Labels to check as tasks for Label Studio and Argilla, and what these export.

The row of each text and the probability with which it was drawn go along, and have to
come back: without them nobody knows whose label that is, and what it proves.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

import pandas as pd

from .. import __version__
from .._storage import replacing
from ._tables import is_null, read_table, spell

_AGENT = f"skdygen-{__version__}"


@dataclass(frozen=True)
class Tool:
    """How a tool gets tasks, and `config`, which belongs to them."""

    make_tasks: Callable
    make_config: Callable
    suffix: str
    what_now: str

    def name_config(self, path):
        """Name the file that belongs to a file of tasks."""
        return path.with_suffix(self.suffix)


def write_tasks(tasks, path):
    """Write tasks as JSON, all of it ASCII."""
    write_text(json.dumps(tasks, indent=1), path)


def write_text(text, path):
    """Write a text file under another name, and rename it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_checked(path, **params):
    """Read a table of `check` that is filled in, or such a table from an export."""
    if path.suffix.lower() == ".json":
        records = _read_json(path)
        table = pd.DataFrame(records, dtype=object)
    else:
        table = read_table(path, **params)
        records = table.to_dict("records")
    if "annotation_id" not in table and {"row", "verified"} <= {*table.columns}:
        return table
    read = next((read for key, read in _EXPORTS.items() if key in table), None)
    return table if read is None else _join(records, read, path)


def _read_json(path):
    """Read a list of objects, or an object per line."""
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
        if text.startswith("{"):
            text = "[" + text.replace("\n", ",") + "]"
        records = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not (isinstance(records, list) and all(type(each) is dict for each in records)):
        raise ValueError(f"{path} is no list of objects, as annotation tools export.")
    return records


def _join(records, read, path):
    """Make a table of `check` of the rows of an export.

    Of several labels of a text, that which is there most often is taken.
    """
    counts, known = defaultdict(Counter), {}
    for n, record in enumerate(records):
        try:
            row, text, probability, labels = read(record)
            if any(is_null(cell) or cell == "" for cell in (row, probability)):
                raise ValueError(
                    "its row, or the probability with which that was drawn, is "
                    "missing; import the file of `check` as it is, and export all that "
                    "is in there"
                )
            known[row] = {"row": row, "text": text, "probability": probability}
            counts[row].update(labels)
        except ValueError as error:
            raise ValueError(f"{path}, task {n}: {error}.") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, task {n}: it is not as tools export it ({error!r})."
            ) from error
    for row, of_row in counts.items():
        (label, n), *others = of_row.most_common() or [(None, 0)]
        if others and others[0][1] == n:
            raise ValueError(
                f"{path}: row {row} has the labels {label!r} and {others[0][0]!r} "
                f"equally often; leave one of them, and export again."
            )
        known[row]["verified"] = label
    columns = ["row", "text", "probability", "verified"]
    return pd.DataFrame([*known.values()], columns=columns, dtype=object)


def _only(choices):
    """Give the class that was chosen."""
    if len(choices) != 1:
        raise ValueError(f"it has several classes, {choices!r}; leave one")
    return choices[0]


def _make_label_studio_tasks(found):
    """Make tasks with the suggested labels as predictions."""
    tasks = []
    for row in found.drop(columns="verified").to_dict("records"):
        row["given"] = "" if is_null(row["given"]) else spell(row["given"])
        row["suggested"] = spell(row["suggested"])
        choice = {
            "from_name": "verified", "to_name": "text", "type": "choices",
            "value": {"choices": [row["suggested"]]},
        }  # fmt: skip
        prediction = {"model_version": _AGENT, "score": row["confidence"]}
        tasks.append({"data": row, "predictions": [prediction | {"result": [choice]}]})
    return tasks


def _make_label_studio_config(classes):
    """Make a labelling interface; its names are those of columns of `check`."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="Given: $given")
    ElementTree.SubElement(view, "Text", name="text", value="$text")
    names = {"name": "verified", "toName": "text", "choice": "single"}
    choices = ElementTree.SubElement(view, "Choices", names)
    for label in classes:
        ElementTree.SubElement(choices, "Choice", value=spell(label))
    ElementTree.indent(view)
    config = ElementTree.tostring(view, encoding="unicode") + "\n"
    try:
        found = [each.get("value") for each in ElementTree.fromstring(config).iter()]
    except (ElementTree.ParseError, UnicodeEncodeError):
        found = []
    for label in map(spell, classes):
        if label not in found:
            raise ValueError(f"XML cannot hold the class {label!r}; rename it.")
    return config


def _read_task(task):
    """Read a task of Label Studio's JSON."""
    data = task["data"]
    given = [each for each in task["annotations"] if not each.get("was_cancelled")]
    # Who has to decide between others marks an annotation so.
    given = [each for each in given if each.get("ground_truth")] or given
    results = [result for each in given for result in each["result"]]
    chosen = [x["value"]["choices"] for x in results if x["type"] == "choices"]
    return *map(data.get, ("row", "text", "probability")), [*map(_only, chosen)]


def _read_annotation(annotation):
    """Read an annotation of Label Studio's JSON-MIN or CSV."""
    label = annotation.get("verified")
    if isinstance(label, str) and label.startswith('{"choices":'):  # in CSV
        label = json.loads(label)
    if isinstance(label, dict):  # where there are several
        label = _only(label["choices"])
    labels = [] if is_null(label) or label == "" else [label]
    return *map(annotation.get, ("row", "text", "probability")), labels


def _make_argilla_records(found):
    """Make records, as dicts, with the suggested labels as suggestions."""
    records = []
    for row in found.to_dict("records"):
        fields = {"text": row["text"]}
        if not is_null(row["given"]):
            fields["given"] = spell(row["given"])
        suggestion = {"value": spell(row["suggested"]), "score": row["confidence"]}
        suggestions = {"verified": suggestion | {"agent": _AGENT}}
        metadata = {"probability": row["probability"]}
        records.append(
            {"id": str(row["row"]), "fields": fields, "metadata": metadata,
             "suggestions": suggestions, "responses": {}, "vectors": {}}
        )  # fmt: skip
    return records


def _make_argilla_settings(classes):
    """Make the settings of a data set that such records fit."""
    text = {"type": "text", "use_markdown": False}
    options = [{"value": spell(x), "text": spell(x)} for x in classes]
    question = {
        "name": "verified", "title": "Right label", "required": True,
        "settings": {"type": "label_selection", "options": options},
    }  # fmt: skip
    settings = {
        "fields": [
            {"name": "text", "title": "Text", "required": True, "settings": text},
            {"name": "given", "title": "Given", "required": False, "settings": text},
        ],
        "questions": [question],
        "allow_extra_metadata": True,
    }
    return json.dumps(settings, indent=1)


def _read_record(record):
    """Read a record of Argilla whose parts stand side by side."""
    names = ("verified.responses", "verified.responses.status")
    labels, statuses = ([] if is_null(x) else x for x in map(record.get, names))
    pairs = zip(labels, statuses, strict=True)
    labels = [label for label, status in pairs if status == "submitted"]
    return *map(record.get, ("id", "text", "probability")), labels


def _refuse_record(record):
    """Refuse a record of Argilla whose parts are nested."""
    raise ValueError(
        "this export of Argilla does not say which responses were submitted; export by "
        "dataset.records.to_datasets().to_json(...)"
    )


TOOLS = {
    "label-studio": Tool(
        _make_label_studio_tasks, _make_label_studio_config, ".xml",
        "import {table} into a project whose labelling interface is {config}; its "
        "export, as JSON, JSON-MIN or CSV, is for --verified",
    ),
    "argilla": Tool(
        _make_argilla_records, _make_argilla_settings, ".settings.json",
        "rg.Settings.from_json reads {config}, and records.from_json {table}; what "
        "records.to_datasets().to_json writes is for --verified",
    ),
}  # fmt: skip
# What only exports have, and how to read one of their rows.
_EXPORTS = {
    "annotation_id": _read_annotation,
    "annotations": _read_task,
    "responses": _refuse_record,
    "verified.responses": _read_record,
}
