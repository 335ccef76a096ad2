"""`dualway demo`: the whole way, from files to links, a trained model, figures and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag


def demo(
    data: Annotated[
        Path | None, typer.Option(help="A folder of your own data; by default the generated world.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for all that is made; dualway-demo unless given.")
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="With published text and models, which are downloaded after they are shown.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Mentions of your data a split, at most; 0: all.", min=0)] = 4000,
    text_encoder: Annotated[str, typer.Option(help="As encoders.text of `dualway train`.")] = "minilm+mini-clip",
    image_encoder: Annotated[str, typer.Option(help="As encoders.image of `dualway train`.")] = "mini-clip",
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Leave pictures out of the report.")] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Link five captions at once, then train, evaluate and write a report, on the generated world or your own data."""
    from dualway.demo.screens import DemoOptions, run_demo

    output = Output(json=json, quiet=quiet)
    name = "-real" if real else ""
    name += f"-{data.resolve().name}" if data is not None else ""
    options = DemoOptions(
        out=out or Path(f"dualway-demo{name}"),
        data=data,
        limit=limit,
        text_encoder=text_encoder,
        image_encoder=image_encoder,
        pictures=not no_pictures,
    )
    if real:
        from dualway.demo.real import run_real

        output.result(run_real(options, output))
        return
    output.result(run_demo(options, output))
