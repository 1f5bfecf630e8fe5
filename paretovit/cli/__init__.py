"""Names in, one call, print; no logic. One file per command; heavy libraries are loaded by the one that needs them."""

from __future__ import annotations

import os
import sys

import typer

from paretovit.cli.app import Stopped, app
from paretovit.errors import UserError

# isort: off
# in the order of `paretovit --help`
from paretovit.cli import (  # noqa: F401
    models,
    count,
    measure,
    profile,
    attention,
    train,
    detect,
    evaluate,
    export,
    publish,
    report,
    favor,
    compare,
    scale,
    roofline,
    sparsify,
    replace,
    reproduce,
    import_,
    store,
)
# isort: on

# typer brings a click of its own from some version on, so the class is taken from where typer has it
_UsageError = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main() -> None:
    """The console command. Exit code 2 and one line for bad input, 130 for Ctrl-C, 1 for a failure of ours."""
    code = 0
    try:
        code = app(standalone_mode=False) or 0
    except typer.Exit as end:
        code = end.exit_code
    except _UsageError as error:  # type: ignore[misc]  # found at run time
        no_words = type(error).__name__ == "NoArgsIsHelpError"
        message = error.format_message()
        typer.echo(message if no_words else f"paretovit: {message.rstrip('.')}; see --help", err=True)
        code = 2
    except UserError as error:
        typer.echo(f"paretovit: {error}", err=True)
        code = 2
    except (Stopped, KeyboardInterrupt, typer.Abort) as error:
        typer.echo(
            f"\nparetovit: {str(error) or 'stopped; what was measured is kept, the same command goes on'}", err=True
        )
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` is no error
    sys.exit(code)
