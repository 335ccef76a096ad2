"""Options that choose the models which look at pictures; each stands for a setting of `encoders`."""

from __future__ import annotations

from typing import Annotated

import typer

ImageOption = Annotated[
    str | None, typer.Option("--image-encoder", help="Encodes pictures: a CLIP model's directory, hub name, mini-clip.")
]
DetectorOption = Annotated[
    str | None,
    typer.Option(help="Finds objects: proposals, an .onnx file (YOLOX, FastestDet), a model's directory or hub name."),
]
FacesOption = Annotated[str | None, typer.Option(help="Finds faces: a YuNet .onnx file.")]
AgeOption = Annotated[
    str | None, typer.Option(help="Says a face's age: an .onnx file, a classifier's directory, or deepface.")
]
GenderOption = Annotated[
    str | None, typer.Option(help="Says a face's gender: an .onnx file, a classifier's directory, or deepface.")
]
IdentityOption = Annotated[
    str | None,
    typer.Option(
        help="Compares with the knowledge base's pictures of a mention's candidates: a face recognition .onnx file, "
        "or pictures (by the picture encoder). Or a picture classifier's directory."
    ),
]


def seeing_settings(
    image: str | None,
    detector: str | None,
    faces: str | None,
    age: str | None,
    gender: str | None,
    identity: str | None,
) -> list[str]:
    """Return the options as assignments of `--set`; those not given are left out."""
    chosen = {"image": image, "detector": detector, "faces": faces, "age": age, "gender": gender, "identity": identity}
    return [f"encoders.{name}={value}" for name, value in chosen.items() if value is not None]
