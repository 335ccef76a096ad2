"""Tiny random detectors, saved as `transformers` directories: the four kinds that need neither torchvision nor timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LABELS = dict(enumerate(["person", "dog", "tie", "cup", "car"]))
KINDS = ("rt_detr_v2", "d_fine", "yolos", "detr")

_LAYERS = {
    "encoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_ffn_dim": 16, "decoder_layers": 2,
    "decoder_attention_heads": 2, "d_model": 16, "num_queries": 10, "id2label": LABELS,
}  # fmt: skip
_PYRAMID = {"encoder_hidden_dim": 16, "decoder_in_channels": [16] * 3, "num_denoising": 0, **_LAYERS}
_STAGES = ["stage2", "stage3", "stage4"]


def save_tiny_detector(folder: Path, kind: str = "rt_detr_v2", *, seed: int = 0) -> Path:
    """Save a random detector of a few hundred kilobytes with its picture processor; it finds what chance finds."""
    import torch

    torch.manual_seed(seed)
    model, processor = _MAKERS[kind]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _rt_detr_v2() -> tuple[Any, Any]:
    import transformers as t

    backbone = t.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, layer_type="basic", out_features=_STAGES
    )
    config = t.RTDetrV2Config(backbone_config=backbone, encoder_in_channels=[8, 16, 16], **_PYRAMID)
    return t.RTDetrV2ForObjectDetection(config), _square()


def _d_fine() -> tuple[Any, Any]:
    import transformers as t

    backbone = t.HGNetV2Config(
        stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 16, 16], stage_mid_channels=[8] * 4,
        stage_out_channels=[16] * 4, stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4,
        stage_downsample=[False, True, True, True], stage_light_block=[False] * 4, stage_kernel_size=[3] * 4,
        hidden_sizes=[16] * 4, depths=[1] * 4, embedding_size=8, out_features=_STAGES,
    )  # fmt: skip
    config = t.DFineConfig(backbone_config=backbone, encoder_in_channels=[16] * 3, **_PYRAMID)
    return t.DFineForObjectDetection(config), _square()


def _yolos() -> tuple[Any, Any]:
    import transformers as t

    config = t.YolosConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=[64, 64],
        patch_size=16, num_detection_tokens=6, id2label=LABELS,
    )  # fmt: skip
    return t.YolosForObjectDetection(config), t.YolosImageProcessorPil(size=_EDGES)


def _detr() -> tuple[Any, Any]:
    import transformers as t

    backbone = t.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1] * 4, layer_type="basic", out_features=["stage4"]
    )
    config = t.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone,
        encoder_layers=1, **_LAYERS,
    )  # fmt: skip
    return t.DetrForObjectDetection(config), t.DetrImageProcessorPil(size=_EDGES)


def _square() -> Any:
    import transformers

    return transformers.RTDetrImageProcessorPil(size={"height": 64, "width": 64})


_EDGES = {"shortest_edge": 64, "longest_edge": 160}
_MAKERS = {"rt_detr_v2": _rt_detr_v2, "d_fine": _d_fine, "yolos": _yolos, "detr": _detr}
