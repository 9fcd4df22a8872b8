"""Every public class, method and function has a complete numpydoc docstring."""

import inspect

import pytest
from numpydoc.validate import validate

import skdygen
from skdygen import (
    base,
    datasets,
    denoisers,
    dynamics,
    inspection,
    priors,
    testing,
    votes,
)

# What is not asked: an extended summary, "See Also" and examples everywhere, a
# docstring that begins on the line after the quotes, and types of yielded values.
IGNORED = {"ES01", "SA01", "EX01", "GL01", "GL02", "YD01", "RT02"}
MODULES = (
    skdygen, base, datasets, denoisers, dynamics, inspection, priors, testing,
    votes,
)  # fmt: skip


def public_names():
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            full_name = f"{module.__name__}.{name}"
            yield full_name
            if inspect.isclass(thing):
                for attribute, member in inspect.getmembers(thing, inspect.isfunction):
                    is_ours = member.__module__.startswith("skdygen")
                    is_inherited = not member.__doc__ and inspect.getdoc(member)
                    if is_ours and attribute[0] != "_" and not is_inherited:
                        yield f"{full_name}.{attribute}"


@pytest.mark.parametrize("name", sorted(set(public_names())))
def test_docstring(name):
    # Every class and function has an example, but not every method.
    is_method = name.count(".") > 1 and name.split(".")[-2][0].isupper()
    ignored = IGNORED if is_method else IGNORED - {"EX01"}
    errors = [e for e in validate(name)["errors"] if e[0] not in ignored]
    assert not errors, "\n".join([name, *map(": ".join, errors)])
