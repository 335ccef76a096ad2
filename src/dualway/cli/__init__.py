"""The command line: one file per command group. Importing this loads neither torch nor a model."""

from __future__ import annotations

import sys
import traceback

import typer

from dualway import __version__
from dualway.cli import data, demo, evaluate, kb, link, train
from dualway.errors import DualwayError

app = typer.Typer(
    name="dualway",
    help="Link mentions in captioned pictures to the entities of a knowledge base.",
    epilog="Exit codes: 0 done, 1 a fault of dualway, 2 wrong call, 3 broken input, 4 knowledge base, "
    "5 model, 6 unrankable score, 7 storage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.add_typer(kb.app, name="kb")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("link")(link.link)


def _print_version(value: bool) -> None:
    if value:
        print(f"dualway {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line: a mistake of the user's ends in one clear line and an exit code, never a traceback."""
    try:
        app()
    except DualwayError as error:
        print(f"dualway: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("dualway: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception:
        traceback.print_exc()
        print("dualway: this is a fault of dualway, please report it with the lines above", file=sys.stderr)
        sys.exit(1)
