"""Loss and accuracy are the brief's, checked against numbers worked out by hand."""

import pytest
import torch

from dynaconv.training.tally import Tally


def test_the_brief_by_hand() -> None:
    # Batch means 2 and 5 over three images: the loss is 7 / 3, the mean loss of an image (1 + 3 + 5) / 3.
    tally = Tally()
    tally.add(torch.tensor([1.0, 3.0]), torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
    tally.add(torch.tensor([5.0]), torch.tensor([[0.3, 0.7]]), torch.tensor([1]))
    assert tally.loss == pytest.approx(7 / 3)
    assert tally.cross_entropy == pytest.approx(3)
    assert (tally.correct, tally.total) == (2, 3)
    assert tally.accuracy == pytest.approx(2 / 3)


def test_the_shares_of_processes_merge_into_the_whole() -> None:
    torch.manual_seed(0)
    losses, logits, labels = torch.rand(10), torch.randn(10, 3), torch.randint(3, (10,))
    whole, shares = Tally(), [Tally(), Tally()]
    for batch in torch.arange(10).split(4):
        whole.add(losses[batch], logits[batch], labels[batch])
        for rank, share in enumerate(shares):
            mine = batch[rank::2]
            share.add(losses[mine], logits[mine], labels[mine])
    merged = Tally.merged(shares)
    assert merged.sizes == whole.sizes == [4, 4, 2]
    assert merged.correct == whole.correct
    assert merged.loss == pytest.approx(whole.loss)
