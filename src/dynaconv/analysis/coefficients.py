"""What the routers do: the coefficients that each class is given."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaconv.layers import keep_coefficients
from dynaconv.models.modes import eval_mode


@torch.no_grad()
def mean_coefficients(
    model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], num_classes: int
) -> dict[str, NDArray[np.float64]]:
    """Average the coefficients of each dynamic layer over the images of each true class.

    The model is run in eval mode; its mode is as before afterwards.

    Args:
        model: Takes images ``(N, C, H, W)``.
        loader: Batches of images and labels.
        num_classes: Number of classes.

    Returns:
        ``(num_classes, K)`` by the layer's name, in the model's order, nan for a class without images. Layers
        that the forward pass does not come by are left out.
    """
    device = next(model.parameters()).device
    sums: dict[str, Tensor] = {}
    counts = torch.zeros(num_classes)
    with eval_mode(model), keep_coefficients(model) as layers:
        for images, labels in loader:
            model(images.to(device, non_blocking=True))
            counts += labels.bincount(minlength=num_classes)
            for name, layer in layers.items():
                if layer.coefficients is None:
                    continue
                coefficients = layer.coefficients.cpu().double()
                if name not in sums:
                    sums[name] = coefficients.new_zeros(num_classes, layer.num_kernels)
                sums[name].index_add_(0, labels, coefficients)
    return {name: (total / counts[:, None]).numpy() for name, total in sums.items()}
