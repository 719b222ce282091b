"""Loss and accuracy over many batches, as the brief defines them."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Tally:
    """Counts of one pass over a data set."""

    loss_sums: list[float] = field(default_factory=list)
    """For each batch, the sum of its images' losses."""
    sizes: list[int] = field(default_factory=list)
    """For each batch, its images."""
    correct: int = 0

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: losses ``(N,)``, logits ``(N, classes)`` and labels ``(N,)``."""
        self.loss_sums.append(losses.detach().double().sum().item())
        self.sizes.append(len(labels))
        self.correct += int((logits.argmax(1) == labels).sum().item())

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(self.sizes)

    @property
    def loss(self) -> float:
        """The sum of the batches' means, divided by the number of images: about mean loss / batch size."""
        means = (total / size for total, size in zip(self.loss_sums, self.sizes, strict=True) if size)
        return sum(means) / self.total

    @property
    def cross_entropy(self) -> float:
        """The mean loss of an image."""
        return sum(self.loss_sums) / self.total

    @property
    def accuracy(self) -> float:
        """Correct / total."""
        return self.correct / self.total

    def emptied(self) -> "Tally":
        """Return a tally of as many batches in which no image was counted."""
        return Tally([0.0] * len(self.sizes), [0] * len(self.sizes))

    @classmethod
    def merged(cls, tallies: list["Tally"]) -> "Tally":
        """Return the tally of processes that each counted their share of every batch."""
        return cls(
            [sum(sums) for sums in zip(*(tally.loss_sums for tally in tallies), strict=True)],
            [sum(sizes) for sizes in zip(*(tally.sizes for tally in tallies), strict=True)],
            sum(tally.correct for tally in tallies),
        )
