"""What a trained network sees in images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dynaconv.data.images import from_array, open_image, to_uint8
from dynaconv.errors import UsageError
from dynaconv.models.modes import eval_mode
from dynaconv.training.weights import description

BATCH_SIZE = 64

ImageLike = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor


@torch.no_grad()
def predict(model: nn.Module, images: ImageLike | Sequence[ImageLike]) -> Tensor:
    """Return class probabilities ``(N, num_classes)``, float32 on the CPU.

    Args:
        model: As :func:`dynaconv.load_model` returns it, or as :func:`dynaconv.fit` leaves it; it is used in
            eval mode, and its mode is as before afterwards.
        images: One image or a sequence of them: paths, PIL images, arrays or tensors, of any size and mode.
            Arrays hold one image ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)``, or a batch with N before these;
            integers from 0 to 255 or floats from 0 to 1, not normalised.

    Raises:
        DataError: If a file is damaged or no image.
        ValueError: If an array has another shape or range, or the model has no preprocessing.
    """
    _, preprocessing = description(model)
    device = next(model.parameters()).device
    size, channels = preprocessing.image_size, preprocessing.channels
    pixels = torch.stack([to_uint8(image, size, channels) for image in _opened(images)])
    with eval_mode(model):
        logits = [model(preprocessing.normalise(batch).to(device)) for batch in pixels.split(BATCH_SIZE)]
    return torch.cat(logits).float().softmax(1).cpu()


def _opened(images: ImageLike | Sequence[ImageLike]) -> Iterable[Image.Image]:
    if isinstance(images, (np.ndarray, Tensor)):
        return from_array(images)
    if isinstance(images, (str, Path)):
        return [open_image(images, str(images))]
    if isinstance(images, Image.Image):
        return [images]
    if not images:
        raise UsageError("There are no images to predict: got an empty sequence.")
    return [image for entry in images for image in _opened(entry)]
