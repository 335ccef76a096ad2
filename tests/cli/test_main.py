"""The command line as a whole: help, exit codes, streams, signals, and the page that describes it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer.main

import dualway
from dualway import cli, errors
from dualway.cli.output import Output, printable

from .calls import COMMAND, call, spawn

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(group: Any = None, name: str = "dualway") -> dict[str, Any]:
    """Return every command by its full name, as typer has made it."""
    group = group or typer.main.get_command(cli.app)
    found: dict[str, Any] = {}
    for word, command in group.commands.items():
        full = f"{name} {word}"
        if not hasattr(command, "commands") or command.invoke_without_command:
            found[full] = command
        if hasattr(command, "commands"):
            found |= commands(command, full)
    return found


COMMANDS = commands()
SECTIONS = dict(re.findall(r"^## (dualway [\w ]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def test_the_page_has_a_section_for_every_command_and_no_other():
    assert SECTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_names_the_options_of_a_command_and_no_others(name):
    options = {o for parameter in COMMANDS[name].params for o in parameter.opts if o.startswith("-")}
    options -= {"--help", "-q"}
    table = "\n".join(line.split("|")[1] for line in SECTIONS[name].splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`(--?[a-z][a-z-]*)`", table))
    assert named <= options
    assert options <= set(re.findall(r"`(--?[a-z][a-z-]*)`", SECTIONS[name])), "docs/cli.md does not name them all"


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name):
    done = call(*name.split()[1:], "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: {name} ")
    assert max(map(len, done.out.splitlines())) <= 80
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{parameter.name} says nothing"


def test_help_without_a_command_and_the_version():
    assert call().code == 2
    assert all(word in call("--help").out for word in ("data", "kb", "train", "evaluate", "link", "Exit codes"))
    assert call("--version").out == f"dualway {dualway.__version__}\n"


def test_the_page_names_every_exit_code():
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert told == codes | {0, 1, 130, 141}


@pytest.mark.parametrize("arguments", [["bogus"], ["train"], ["evaluate"], ["kb"], ["kb", "bogus"], ["data", "check"]])
def test_calls_that_name_too_little_or_too_much(arguments):
    done = call(*arguments)
    assert done.code == 2
    assert "Usage: dualway" in done.out + done.err


@pytest.mark.parametrize(
    "command",
    ["build", "show", "check", "train", "evaluate", "link"],
)
def test_quiet_and_json_leave_one_object_and_nothing_else(command, kb, data, run, tmp_path):
    (tmp_path / "e.jsonl").write_text('{"id": "a", "name": "b", "unheard_of": 1}\n')
    arguments = {
        "build": ["kb", "build", tmp_path / "e.jsonl", "--out", tmp_path / "kb", "--json"],
        "show": ["kb", "show", kb, "--json"],
        "check": ["data", "check", data, "--json"],
        "train": ["train", "--data", data, "--kb", kb, "--out", run, "--seeds", "0,1", "--json"],
        "evaluate": ["evaluate", "--run", run, "--data", data, "--json", "-"],
        "link": ["link", "--run", run, "--text", "Foster", "--json"],
    }[command]
    if command == "train":
        preset = json.loads((run / "run.json").read_text())["preset"]
        for key in ("encoders.text", "model.dim", "train.epochs"):
            section, name = key.split(".")
            arguments += ["--set", f"{key}={preset[section][name]}"]
    done = call(*arguments, "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    assert isinstance(done.json, dict)


def test_errors_are_told_even_when_quiet(tmp_path):
    done = call("kb", "show", tmp_path / "none", "--json", "--quiet")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"dualway: {tmp_path / 'none'}: no such knowledge base")


def test_the_reader_goes_away(kb):
    for options in ([], ["--json"]):
        done = spawn("kb", "show", kb, *options, shell='"$@" 2>err | true; cat err', cwd=kb.parent)
        assert (done.stdout, done.stderr) == ("", "")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "kb", "show", kb], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_streams(kb):
    assert spawn("kb", "show", kb, shell='exec "$@" <&-').returncode == 0
    assert spawn("kb", "show", kb, shell='exec "$@" >&-').returncode == 0
    assert spawn("data", "check", kb, shell='exec "$@" 2>&-').returncode == 3


def test_an_interrupted_training(kb, data, small, tmp_path):
    """Ctrl-C: one line, 130, no traceback; the same command goes on."""
    arguments = ["train", "--data", data, "--kb", kb, "--out", tmp_path / "run", *small, "--set", "train.epochs=100000"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where a shell runs us with `&`
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "seed-0" / "config.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "dualway: interrupted"
    assert "Traceback" not in err


def test_a_fault_of_ours_shows_where(monkeypatch, capsys):
    def broken() -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert "ZeroDivisionError: ours" in err
    assert err.splitlines()[-1] == "dualway: this is a fault of dualway, please report it with the lines above"


def test_an_error_of_the_system_names_its_file(monkeypatch, capsys):
    def unreadable() -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(cli, "app", unreadable)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 7
    assert capsys.readouterr().err == "dualway: /somewhere: Permission denied\n"


def test_a_plain_terminal_gets_no_colours(kb):
    done = spawn("kb", "--help", env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"})
    assert "\x1b" not in done.stdout


def test_control_characters_are_replaced_and_lines_kept():
    assert printable("a\x1b[2J\r\x9b\n\tb") == "a\ufffd[2J\ufffd\ufffd\n\tb"
    assert printable("東京 صلاح é") == "東京 صلاح é"


def test_progress_is_a_line_at_the_end_and_silent_when_quiet(capsys):
    for quiet in (False, True):
        with Output(quiet=quiet).progress("things done") as meter:
            meter._start -= 2  # as if it had taken two seconds
            meter.update(50, 100, "half way")
        err = capsys.readouterr().err
        assert err.startswith("" if quiet else "things done: 50 of 100 (50 %), 25/s, 2 s left, half way")
        assert bool(err) is not quiet
