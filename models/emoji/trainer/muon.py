"""Muon (Jordan et al., 2024): momentum whose matrices are made orthogonal before the step.

Fewer steps than AdamW for the same loss where nearly all weights are matrices or convolutions,
and few steps are what two cores can pay for.
"""

import torch
from torch import Tensor

from .loop import fast_type

# The first steps of the Polar Express (Amsel et al., 2025): the best polynomial for each.
STEPS = ((8.2872, -23.5959, 17.3004), (4.1071, -2.9478, 0.5448), (3.9487, -2.9089, 0.5518), (3.3184, -2.4885, 0.5100))


def orthogonalise(batch: Tensor) -> Tensor:
    """Newton-Schulz iteration towards U·Vᵀ of each matrix. batch: B×rows×columns, float32.

    In the fast type of the processor, as Muon's authors have it: on bfloat16 the result is 1.6% off.
    """
    transposed = batch.size(-2) > batch.size(-1)
    x = batch.mT if transposed else batch
    x = x / (1.01 * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = _by_grams(x) if fast_type() == torch.float32 else _plainly(x.to(fast_type())).float()
    return x.mT if transposed else x


def _plainly(x: Tensor) -> Tensor:
    for a, b, c in STEPS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _by_grams(x: Tensor) -> Tensor:
    """The same where numbers are exact enough for it.

    Every iterate is a polynomial of the first Gram matrix times the first iterate, so all but two of the
    products are small squares: a third of the work where a matrix is much wider than high.
    """
    gram = x @ x.mT
    one = torch.eye(gram.size(-1))
    product = None
    for a, b, c in STEPS:
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * one
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    return product @ x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    The update is scaled so that its root mean square is that of a typical AdamW step (Liu et al.,
    2025), so both optimisers take the same learning rate. Convolutions are seen as out×(in·k·k).
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"]).flatten(1)
                by_shape.setdefault(tuple(update.shape), []).append((p, update))
            for (rows, columns), members in by_shape.items():
                scale = 0.2 * max(rows, columns) ** 0.5
                updates = orthogonalise(torch.stack([u for _, u in members]))
                for (p, _), update in zip(members, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.view_as(p), alpha=-group["lr"] * scale)


class Optimisers:
    """Muon for the weights that are matrices inside the network, AdamW for the rest."""

    def __init__(self, named_parameters, lr: float, is_matrix):
        matrices, rest = [], []
        for name, p in named_parameters:
            (matrices if p.ndim in (2, 4) and is_matrix(name) else rest).append(p)
        self.lr = lr
        self.parts = [
            Muon(matrices, lr),
            torch.optim.AdamW(rest, lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]

    def step(self, factor: float) -> None:
        """One step at `factor` times the learning rate; clears the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.lr * factor
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [p.state_dict() for p in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
