"""Tiny random detectors and segmenters, saved as `transformers` directories; none needs torchvision or timm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

LABELS = dict(enumerate(["person", "dog", "tie", "cup", "car"]))
KINDS = ("rt_detr_v2", "d_fine", "yolos", "detr")
SEGMENTERS = ("mask2former", "maskformer", "detr_segmentation")

_LAYERS = {
    "encoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_ffn_dim": 16, "decoder_layers": 2,
    "decoder_attention_heads": 2, "d_model": 16, "num_queries": 10, "id2label": LABELS,
}  # fmt: skip
_PYRAMID = {"encoder_hidden_dim": 16, "decoder_in_channels": [16] * 3, "num_denoising": 0, **_LAYERS}
_STAGES = ["stage2", "stage3", "stage4"]


def save_tiny_detector(folder: Path, kind: str = "rt_detr_v2", *, seed: int = 0) -> Path:
    """Save a random detector of a few hundred kilobytes with its picture processor; it finds what chance finds."""
    return _save(folder, _MAKERS[kind], seed)


def save_tiny_segmenter(folder: Path, kind: str = "mask2former", *, seed: int = 0) -> Path:
    """Save a random model of instance segmentation of a few hundred kilobytes with its picture processor."""
    return _save(folder, _SEGMENTER_MAKERS[kind], seed)


def _save(folder: Path, make: Callable[[], tuple[Any, Any]], seed: int) -> Path:
    import torch

    torch.manual_seed(seed)
    model, processor = make()
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

    config = _detr_config(_resnet("stage4"), **_LAYERS)
    return t.DetrForObjectDetection(config), t.DetrImageProcessorPil(size=_EDGES)


def _detr_segmentation() -> tuple[Any, Any]:
    import transformers as t

    layers = {**_LAYERS, "d_model": 64, "encoder_attention_heads": 8, "decoder_attention_heads": 8}
    config = _detr_config(_resnet("stage1", "stage2", "stage3", "stage4"), **layers)
    return t.DetrForSegmentation(config), t.DetrImageProcessorPil(size=_EDGES)


def _mask2former() -> tuple[Any, Any]:
    import transformers as t

    backbone = t.SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = t.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=10, id2label=LABELS,
    )  # fmt: skip
    return t.Mask2FormerForUniversalSegmentation(config), t.Mask2FormerImageProcessorPil(**_MASKED)


def _maskformer() -> tuple[Any, Any]:
    import transformers as t

    config = t.MaskFormerConfig(
        backbone_config=_resnet("stage1", "stage2", "stage3", "stage4"),
        decoder_config=_detr_config(_resnet("stage4"), **_LAYERS),
        fpn_feature_size=32, mask_feature_size=32, id2label=LABELS,
    )  # fmt: skip
    return t.MaskFormerForInstanceSegmentation(config), t.MaskFormerImageProcessorPil(**_MASKED)


def _detr_config(backbone: Any, **layers: Any) -> Any:
    import transformers as t

    ours = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    return t.DetrConfig(backbone_config=backbone, encoder_layers=1, **ours, **layers)


def _resnet(*stages: str) -> Any:
    import transformers as t

    return t.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1] * 4, layer_type="basic", out_features=list(stages)
    )


def _square() -> Any:
    import transformers

    return transformers.RTDetrImageProcessorPil(size={"height": 64, "width": 64})


_EDGES = {"shortest_edge": 64, "longest_edge": 160}
_MASKED = {"size": _EDGES, "num_labels": len(LABELS), "ignore_index": 255}
_MAKERS = {"rt_detr_v2": _rt_detr_v2, "d_fine": _d_fine, "yolos": _yolos, "detr": _detr}
_SEGMENTER_MAKERS = {
    "mask2former": _mask2former,
    "maskformer": _maskformer,
    "detr_segmentation": _detr_segmentation,
}
