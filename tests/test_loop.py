"""The loop trains, measures what the brief measures, and can be stopped anywhere without a trace."""

import json
import math
import os
import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynaconv import History, Recipe, create_model, evaluate, fit, load_data
from dynaconv.data.loaders import ImageLoader
from dynaconv.errors import CheckpointError, TrainingError

RECIPE = Recipe(
    data="digits",
    image_size=8,
    batch_size=256,
    crop=1,
    flip=False,
    num_kernels=2,
    method="stacked",
    epochs=3,
    precision="float32",
)


def digits(recipe: Recipe = RECIPE) -> tuple[ImageLoader, ImageLoader]:
    return load_data(recipe.data, batch_size=recipe.batch_size, **recipe.data_options())


def network(recipe: Recipe = RECIPE) -> nn.Module:
    torch.manual_seed(recipe.seed)
    return create_model("seven_block", in_channels=1, **recipe.model_options())


def measured(history: History) -> list[tuple[float, ...]]:
    """What a history says, without the times."""
    names = ("epoch", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "learning_rate")
    return list(zip(*(history.column(name) for name in names), strict=True))


def same_state(a: nn.Module, b: nn.Module) -> bool:
    states = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in states)


class Interrupting(nn.Module):
    """Sends this process a signal when it has seen a number of batches, as a person's Ctrl-C would."""

    def __init__(self, model: nn.Module, after: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.model, self.left, self.number = model, after, number

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        logits: torch.Tensor = self.model(images)
        return logits


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> tuple[nn.Module, History, bytes]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    model = Interrupting(network(), after=0)
    history = fit(model, *digits(), RECIPE, folder)
    return model, history, (folder / "checkpoints" / "last.pt").read_bytes()


# Three epochs of 6 training and 2 test batches: within an epoch, at its end, in testing, in the next one.
@pytest.mark.parametrize("stops", [[1], [6], [7], [8], [9], [3, 4, 5]])
def test_a_run_that_is_stopped_and_resumed_ends_in_the_same_bits(stops, unbroken, tmp_path, capsys) -> None:
    for after in stops:
        model = Interrupting(network(), after)
        with pytest.raises(KeyboardInterrupt, match=r"saved\. Go on with: dynaconv train --run .* --resume"):
            fit(model, *digits(), RECIPE, tmp_path / "run", resume=True)
    model = Interrupting(network(), after=0)
    history = fit(model, *digits(), RECIPE, tmp_path / "run", resume=True)

    expected_model, expected_history, expected_checkpoint = unbroken
    assert same_state(model, expected_model)
    assert measured(history) == measured(expected_history)
    assert measured(History.from_csv(tmp_path / "run" / "history.csv")) == measured(expected_history)
    lines = "".join(f"{epoch.line()}\n" for epoch in expected_history)
    assert (tmp_path / "run" / "train.log").read_text() == lines
    ours = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    (tmp_path / "expected.pt").write_bytes(expected_checkpoint)
    theirs = torch.load(tmp_path / "expected.pt", weights_only=True)
    moments = [
        (ours["optimizer"]["state"][k][name], theirs["optimizer"]["state"][k][name])
        for k in theirs["optimizer"]["state"]
        for name in ("step", "exp_avg", "exp_avg_sq")
    ]
    assert all(torch.equal(a, b) for a, b in moments)


def test_sigterm_saves_as_well_and_exits_143(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(Interrupting(network(), 2, signal.SIGTERM), *digits(), RECIPE, tmp_path / "run")
    assert stopped.value.exit_code == 143  # type: ignore[attr-defined]
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()


def test_signals_are_as_before_after_a_run(tmp_path) -> None:
    before = signal.getsignal(signal.SIGINT)
    fit(network(), *digits(), Recipe.from_dict({**vars(RECIPE), "epochs": 1}))
    assert signal.getsignal(signal.SIGINT) is before


def test_the_network_learns(capsys) -> None:
    recipe = Recipe.from_dict(
        {
            **vars(RECIPE),
            "batch_size": 64,
            "epochs": 4,
            "image_size": 16,
            "optimizer": "adamw",
            "schedule": "one_cycle",
        }
    )
    history = fit(network(recipe), *digits(recipe), recipe)
    assert history[-1].test_accuracy > 0.9
    assert history[-1].train_loss < history[0].train_loss / 3
    printed = capsys.readouterr().out.splitlines()
    assert printed == [epoch.line() for epoch in history]


def test_one_step_is_adam_as_the_brief_has_it() -> None:
    """Adam by its formulas (arXiv:1412.6980, algorithm 1) on a linear network, one batch."""
    images, labels = torch.randn(8, 3), torch.randint(2, (8,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=8)
    model = nn.Linear(3, 2, bias=False)
    weight = model.weight.detach().clone().requires_grad_()
    F.cross_entropy(images @ weight.T, labels).backward()
    assert weight.grad is not None
    gradient = weight.grad + 1e-5 * weight.detach()
    mean, square = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
    expected = weight.detach() - 0.002 * mean / (square.sqrt() + 1e-8)

    fit(model, loader, loader, Recipe(epochs=1, precision="float32"))
    torch.testing.assert_close(model.weight.detach(), expected)


def test_losses_and_accuracies_are_the_briefs_by_hand(capsys) -> None:
    """A network that does not learn (its weights are frozen by a tiny rate) is measured on three batches."""
    torch.manual_seed(0)
    images, labels = torch.randn(10, 3), torch.randint(2, (10,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=4)
    model = nn.Linear(3, 2)
    logits = model(images).detach()
    means = [F.cross_entropy(logits[i : i + 4], labels[i : i + 4]).item() for i in (0, 4, 8)]
    accuracy = (logits.argmax(1) == labels).float().mean().item()

    history = fit(model, loader, loader, Recipe(epochs=1, learning_rate=1e-30, precision="float32"))
    assert history[0].train_loss == pytest.approx(sum(means) / 10)
    assert history[0].test_loss == pytest.approx(sum(means) / 10)
    assert history[0].train_accuracy == history[0].test_accuracy == pytest.approx(accuracy)
    result = evaluate(model, loader)
    assert result.loss == pytest.approx(sum(means) / 10)
    assert result.cross_entropy == pytest.approx(F.cross_entropy(logits, labels).item())
    assert (result.correct, result.total) == (round(accuracy * 10), 10)
    torch.testing.assert_close(result.logits, logits)
    assert torch.equal(result.labels, labels)


def test_testing_uses_no_gradients_no_dropout_and_no_augmentation() -> None:
    model, (_, test_iter) = network(), digits()
    first, second = evaluate(model, test_iter), evaluate(model, test_iter)
    assert torch.equal(first.logits, second.logits)
    assert not first.logits.requires_grad
    assert model.training  # as it was


def test_a_loss_that_is_not_finite_stops_at_its_step(tmp_path) -> None:
    good = Recipe.from_dict({**vars(RECIPE), "epochs": 1})
    fit(network(), *digits(), good, tmp_path / "run")
    kept = (tmp_path / "run" / "checkpoints" / "last.pt").read_bytes()

    model = network()
    nn.init.constant_(next(model.parameters()), math.nan)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1, step 1 of 6.*lower learning rate"):
        fit(model, *digits(), RECIPE, tmp_path / "other")
    assert (tmp_path / "run" / "checkpoints" / "last.pt").read_bytes() == kept
    assert not (tmp_path / "other" / "checkpoints" / "last.pt").exists()


def test_weights_that_break_in_an_epoch_leave_the_checkpoint_before(tmp_path) -> None:
    class Breaking(Interrupting):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.left -= 1
            logits: torch.Tensor = self.model(images)
            return logits * math.inf if self.left == 0 else logits

    with pytest.raises(TrainingError, match="in epoch 2, step 2 of 6"):
        fit(Breaking(network(), after=6 + 2 + 2), *digits(), RECIPE, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert state["progress"]["epoch"] == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_a_run_is_never_overwritten(unbroken, tmp_path) -> None:
    recipe = Recipe.from_dict({**vars(RECIPE), "epochs": 1})
    fit(network(), *digits(), recipe, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"holds a run already.*--resume.*--overwrite"):
        fit(network(), *digits(), recipe, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_another_recipe_network_or_data_set_is_not_resumed(tmp_path) -> None:
    recipe = Recipe.from_dict({**vars(RECIPE), "epochs": 1, "schedule": "one_cycle"})
    fit(network(), *digits(), recipe, tmp_path / "run")

    def resume(model: nn.Module, loaders: tuple[ImageLoader, ImageLoader], **changes: object) -> None:
        fit(model, *loaders, Recipe.from_dict({**vars(recipe), **changes}), tmp_path / "run", resume=True)

    with pytest.raises(CheckpointError, match=r"another recipe: learning_rate was 0\.002, is 0\.1"):
        resume(network(), digits(), learning_rate=0.1)
    with pytest.raises(CheckpointError, match="another recipe: epochs was 1, is 2"):
        resume(network(), digits(), epochs=2)  # the schedule would have been another
    with pytest.raises(CheckpointError, match=r"weights of another network: blocks\.0\.conv\.weight"):
        resume(create_model("seven_block", in_channels=1, num_kernels=3), digits())
    train_iter, test_iter = digits()
    train_iter.dataset.images.labels[0] += 1
    with pytest.raises(CheckpointError, match="other images"):
        resume(network(), (train_iter, test_iter))


def test_a_run_at_a_constant_rate_can_be_made_longer(unbroken, tmp_path) -> None:
    model = Interrupting(network(), after=0)
    fit(model, *digits(), Recipe.from_dict({**vars(RECIPE), "epochs": 2}), tmp_path / "run")
    model = Interrupting(network(), after=0)
    history = fit(model, *digits(), RECIPE, tmp_path / "run", resume=True)
    assert measured(history) == measured(unbroken[1])
    assert same_state(model, unbroken[0])


def test_resuming_where_nothing_is_begins_with_a_word(tmp_path, capsys) -> None:
    recipe = Recipe.from_dict({**vars(RECIPE), "epochs": 1})
    assert len(fit(network(), *digits(), recipe, tmp_path / "run", resume=True)) == 1
    assert "holds no run to resume: beginning one" in " ".join(capsys.readouterr().err.split())


def test_a_torn_checkpoint_is_named_and_the_one_before_taken(unbroken, tmp_path, capsys) -> None:
    recipe = Recipe.from_dict({**vars(RECIPE), "epochs": 2})
    fit(network(), *digits(), recipe, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:-1000])
    model = Interrupting(network(), after=0)
    history = fit(model.model, *digits(), RECIPE, tmp_path / "run", resume=True)
    assert "last.pt is damaged" in " ".join(capsys.readouterr().err.split())
    assert measured(history) == measured(unbroken[1])


def test_the_environment_says_what_the_numbers_depend_on(tmp_path) -> None:
    train_iter, test_iter = digits()
    fit(network(), train_iter, test_iter, Recipe.from_dict({**vars(RECIPE), "epochs": 1}), tmp_path / "run")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert environment["threads"] == torch.get_num_threads()
    assert environment["precision"] == "float32"
    assert environment["data"] == train_iter.dataset.fingerprint()
    assert environment["methods"] == {f"blocks.{i}.conv": "stacked" for i in range(7)}


def test_foreign_loaders_train_and_resume(tmp_path) -> None:
    torch.manual_seed(1)
    data = torch.utils.data.TensorDataset(torch.randn(20, 3), torch.randint(2, (20,)))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    recipe = Recipe(epochs=2, precision="float32")
    straight, stopped = nn.Linear(3, 2), nn.Linear(3, 2)
    stopped.load_state_dict(straight.state_dict())
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupting(stopped, after=3), loader, loader, recipe, tmp_path / "run")
    resumed = Interrupting(nn.Linear(3, 2), after=0)
    fit(resumed, loader, loader, recipe, tmp_path / "run", resume=True)
    fit(straight, loader, loader, recipe)
    assert same_state(resumed.model, straight)
