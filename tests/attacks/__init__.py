"""What damage, strangers and bad luck can do: tried at random, by numbered cases.

`ATTACKS=1 python -m pytest -m long tests/attacks -s` tries as many cases as
docs/reliability.md says, and prints what came of them; without it, a tenth is tried.
"""

import multiprocessing
import os

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    ["tests.test_cli", "tests.test_storage", "transformers.models.bert.modeling_bert"]
)


def cases(n):
    """Number so many cases, or the share of them that is to be tried."""
    return range(max(1, round(n * float(os.environ.get("ATTACKS", "0.1")))))


def in_a_process(function, *args, timeout=600):
    """Call a function that may end the process in another one; give its exit code."""
    child = FORKSERVER.Process(target=function, args=args)
    child.start()
    child.join(timeout)
    child.kill()  # if it waits for ever
    child.join()
    return child.exitcode
