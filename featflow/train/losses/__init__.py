"""Losses: of pictures, of points and intensities, of classes; and how several are weighed."""

from featflow.train.losses.base import ImageLoss, MapLoss, WholeLoss
from featflow.train.losses.classification import (
    ArcFace,
    class_focal_loss,
    focal_loss,
    soft_cross_entropy,
)
from featflow.train.losses.collator import BatchLoss, BatchMasks, LossCollator
from featflow.train.losses.flip import FLIP
from featflow.train.losses.perceptual import LPIPS
from featflow.train.losses.pixel import (
    MAE,
    MSE,
    GeneralRobust,
    GradientDifference,
    LInfinity,
    LogCosh,
    SmoothL1,
)
from featflow.train.losses.points import concordance_loss, wing_loss
from featflow.train.losses.registry import IMAGE_LOSSES, make_loss
from featflow.train.losses.spectral import FocalFrequency, LaplacianPyramid
from featflow.train.losses.structural import GMSD, SSIM, MultiScaleSSIM

__all__ = [
    "FLIP",
    "GMSD",
    "IMAGE_LOSSES",
    "LPIPS",
    "MAE",
    "MSE",
    "SSIM",
    "ArcFace",
    "BatchLoss",
    "BatchMasks",
    "FocalFrequency",
    "GeneralRobust",
    "GradientDifference",
    "ImageLoss",
    "LInfinity",
    "LaplacianPyramid",
    "LogCosh",
    "LossCollator",
    "MapLoss",
    "MultiScaleSSIM",
    "SmoothL1",
    "WholeLoss",
    "class_focal_loss",
    "concordance_loss",
    "focal_loss",
    "make_loss",
    "soft_cross_entropy",
    "wing_loss",
]
