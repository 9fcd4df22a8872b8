"""The command line: tables in, tables with better labels out.

Importing it is quick: torch and pandas come with the command that needs them.
"""

import logging
import sys

from ._errors import CommandError
from ._parser import make_parser


def main(arguments=None):
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, default=None
        What is typed behind ``skdygen``; None takes what was.

    Returns
    -------
    code : int
        0 if all went well, 1 if data or files are at fault, 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        With 2 if the arguments are wrong, with 0 after ``--help``.
    """
    options = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        options.run(options)
    except CommandError as error:
        if options.debug:
            raise
        print(f"skdygen: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nskdygen: interrupted", file=sys.stderr)
        return 130
    return 0
