"""Dynamic convolution: the operator and its layers. Needs torch alone."""

from dynaconv.layers.conv import DynamicConv2d, keep_coefficients
from dynaconv.layers.functional import dynamic_conv2d
from dynaconv.layers.methods import METHODS
from dynaconv.layers.router import Router

__all__ = ["METHODS", "DynamicConv2d", "Router", "dynamic_conv2d", "keep_coefficients"]
