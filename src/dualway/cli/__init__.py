"""The command line: one file per command group. Importing this loads neither torch nor a model."""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import NoReturn

import typer

from dualway import __version__
from dualway.cli import data, demo, evaluate, features, kb, link, relink, train
from dualway.cli.output import printable
from dualway.errors import DualwayError, StorageError

app = typer.Typer(
    name="dualway",
    help="Link mentions in captioned pictures to the entities of a knowledge base.",
    epilog="Exit codes: 0 done, 1 a fault of dualway, 2 wrong call, 3 broken input, 4 knowledge base, "
    "5 model, 6 unrankable score, 7 storage, 8 download, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.add_typer(kb.app, name="kb")
app.add_typer(features.app, name="features")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("link")(link.link)
app.command("relink")(relink.relink)


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
    # Threads that wait by spinning starve the others on a shared machine; read when torch is loaded, later on.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _never_fail_on_characters()
    try:
        app()
    except DualwayError as error:
        _say(error)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        # typer has made 130 of a KeyboardInterrupt that came while a command ran.
        code = 130 if isinstance(stop, KeyboardInterrupt) else stop.code
        if code == 130:
            _say("interrupted")
        sys.exit(code)
    except OSError as error:
        if error.filename is None:
            _report_fault()
        _say(f"{error.filename}: {error.strerror}")
        sys.exit(StorageError.exit_code)
    except Exception:
        _report_fault()


def _never_fail_on_characters() -> None:
    """Let a terminal that lacks a character show its code: a name in another script is no reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say(what: object) -> None:
    print(f"dualway: {printable(str(what))}", file=sys.stderr)


def _report_fault() -> NoReturn:
    traceback.print_exc()
    _say("this is a fault of dualway, please report it with the lines above")
    sys.exit(1)
