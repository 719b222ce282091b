"""The optimiser of a recipe."""

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from dynaconv.training.recipe import Recipe


def build_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimiser over all parameters of a model."""
    parameters = model.parameters()  # `fused` goes over them once a step instead of ten times
    rate, decay, betas = recipe.learning_rate, recipe.weight_decay, recipe.betas
    if recipe.optimizer == "sgd":
        return SGD(parameters, rate, momentum=betas[0], weight_decay=decay, nesterov=True, fused=True)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(parameters, rate, betas=betas, eps=recipe.eps, weight_decay=decay, fused=True)
