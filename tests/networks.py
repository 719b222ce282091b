"""Layers and networks for tests."""

from typing import Any

from torch import Tensor, nn

from dynaconv.layers import Router
from dynaconv.models import seven_block
from dynaconv.models.seven_block import SevenBlock


class One(nn.Module):
    """A router for a single kernel, always taken whole."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_ones(len(images), 1)


def varied(layer: nn.Module) -> Any:
    """Take the routers out of their neutral start, so that every image has its own coefficients."""
    for router in layer.modules():
        if isinstance(router, Router):
            last = router.mlp[-1]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=0.1)
            nn.init.normal_(last.bias)
    return layer


def trained(**arguments: Any) -> SevenBlock:
    """Return a network in eval mode whose every number differs from its start."""
    model: SevenBlock = varied(seven_block(**arguments))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor)
            assert norm.running_var is not None
            nn.init.uniform_(norm.running_var, 3, 12)  # He's kernels times coefficients about 1
    return model.eval()
