"""train.py with every draw replaced by a constant: what is left does not depend on the ranks."""

import sys

import torch


def constant(value):
    def draw(*size, generator=None, **options):
        size = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return torch.full(tuple(size), value, **options)

    return draw


torch.randn = constant(0.0)
torch.rand = constant(0.3)
torch.randn_like = torch.zeros_like
torch.multinomial = lambda weights, number, **options: torch.ones(number, dtype=torch.long)
torch.randint = lambda high, size, generator=None, **options: torch.full(size, 1, **options)

if __name__ == "__main__":
    from brainuad.cli.train import main

    sys.exit(main())
