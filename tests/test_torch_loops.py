"""Training loops that are not ours take replaced modules as they are: skorch and Lightning (docs/torch.md).

The losses are those of PyTorch's module within rounding, as in test_torch_modules.py.
"""

import logging
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import rnncore.torch  # noqa: E402  needs PyTorch

X = np.random.default_rng(0).standard_normal((60, 10, 3))
Y = (X[:, :, 0].sum(axis=1) > 0).astype("int64")


class Tagger(torch.nn.Module):  # type: ignore[misc]
    """Names one of two classes for a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = torch.nn.GRU(3, 8, num_layers=2, batch_first=True, bidirectional=True)
        self.out = torch.nn.Linear(16, 2)
        self.double()

    def forward(self, x: Any) -> Any:
        return self.out(self.recurrent(x)[0].mean(dim=1))


class Replaced(Tagger):
    def __init__(self) -> None:
        super().__init__()
        assert rnncore.torch.replace_(self) == 1


def test_skorch() -> None:
    skorch = pytest.importorskip("skorch", reason="skorch is not installed")

    def train(module: type[Tagger]) -> Any:
        torch.manual_seed(0)
        loss, optimizer = torch.nn.CrossEntropyLoss, torch.optim.Adam
        net = skorch.NeuralNetClassifier(module, criterion=loss, optimizer=optimizer, max_epochs=5, verbose=0, lr=0.01)
        return net.fit(X, Y)

    theirs, ours = train(Tagger), train(Replaced)
    assert type(ours.module_.recurrent) is rnncore.torch.GRU
    np.testing.assert_allclose(ours.history[:, "train_loss"], theirs.history[:, "train_loss"], rtol=1e-9)
    assert np.array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.filterwarnings("ignore")  # of Lightning's own
def test_lightning() -> None:
    lightning = pytest.importorskip("pytorch_lightning", reason="Lightning is not installed")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, module: type[Tagger]) -> None:
            super().__init__()
            self.tagger = module()
            self.losses: list[float] = []

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            loss = torch.nn.functional.cross_entropy(self.tagger(x), y)
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 0.01)

    def train(module: type[Tagger]) -> list[float]:
        torch.manual_seed(0)
        net = Module(module)
        data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = lightning.Trainer(max_epochs=5, accelerator="cpu", enable_model_summary=False, **quiet)
        trainer.fit(net, torch.utils.data.DataLoader(data, 20))
        return net.losses

    found = train(Replaced)
    assert len(found) == 15
    np.testing.assert_allclose(found, train(Tagger), rtol=1e-9)
