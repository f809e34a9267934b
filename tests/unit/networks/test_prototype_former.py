"""INP-Former's blocks against loops, and what a token may pass on."""

import torch
from torch import nn

from brainuad.networks.prototype_former import Extractor, GuidedBlock, PrototypeFormer


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(module):
    """The module with weights that are not near zero."""
    for seed, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(seed))
    return module.eval()


@torch.no_grad()
def test_the_extractor_is_a_softmax_over_the_tokens_inside():
    block = filled(Extractor(width=4, heads=2, hidden=8))
    queries, tokens = random(1, 3, 4), random(1, 5, 4, seed=1)
    inside = torch.tensor([[True, False, True, True, False]])
    found = block(queries, tokens, inside)
    q, kv = block.to_q(block.norm(queries))[0], block.to_kv(block.norm(tokens))[0]
    gathered = torch.zeros(3, 4)
    for head in range(2):
        of = slice(2 * head, 2 * head + 2)
        keys, values = kv[:, :4][:, of], kv[:, 4:][:, of]
        for m in range(3):
            weight = torch.stack([(q[m, of] @ keys[n]) / 2**0.5 for n in (0, 2, 3)]).softmax(0)
            gathered[m, of] = weight @ values[[0, 2, 3]]
    x = queries[0] + block.out(gathered)
    torch.testing.assert_close(found[0], x + block.mlp(block.norm_mlp(x)))


@torch.no_grad()
def test_without_a_token_inside_all_are_seen():
    block = filled(Extractor(width=4, heads=1, hidden=8))
    queries, tokens = random(2, 3, 4), random(2, 5, 4, seed=1)
    none, every = (torch.full((2, 5), inside) for inside in (False, True))
    assert torch.equal(block(queries, tokens, none), block(queries, tokens, every))


@torch.no_grad()
def test_the_guided_block_weighs_by_relu_of_scaled_cosines():
    block = filled(GuidedBlock(width=4, heads=2, hidden=8))
    tokens, prototypes = random(1, 5, 4), random(1, 3, 4, seed=1)
    q, kv = block.to_q(block.norm(tokens))[0], block.to_kv(block.norm(prototypes))[0]
    taken = torch.zeros(5, 4)
    for head in range(2):
        of = slice(2 * head, 2 * head + 2)
        keys, values = kv[:, :4][:, of], kv[:, 4:][:, of]
        for n in range(5):
            for m in range(3):
                cosine = q[n, of] @ keys[m] / (q[n, of].norm() * keys[m].norm())
                taken[n, of] += max((block.scale[head] * cosine).item(), 0) * values[m]
    x = block.out(taken)
    torch.testing.assert_close(block(tokens, prototypes)[0], x + block.mlp(block.norm_mlp(x)))


@torch.no_grad()
def test_nothing_of_a_token_passes_a_block_but_its_weights():
    """Without values of the prototypes all tokens come out equal: there is no residual path."""
    block = filled(GuidedBlock(width=4, heads=2, hidden=8))
    block.to_kv.weight[4:], block.to_kv.bias[4:] = 0, 0
    found = block(random(1, 5, 4), random(1, 3, 4, seed=1))
    torch.testing.assert_close(found, found[:, :1].expand_as(found))


def test_the_last_block_comes_first():
    network = PrototypeFormer(width=4, heads=2, prototypes=3, blocks=2)
    tokens = random(2, 5, 4)
    prototypes = network.prototypes_of(tokens, torch.ones(2, 5, dtype=torch.bool))
    assert prototypes.shape == (2, 3, 4)
    found = network.rebuild(tokens, prototypes)
    first = network.decoder[0](network.bottleneck(tokens), prototypes)
    assert torch.equal(found[1], first)
    assert torch.equal(found[0], network.decoder[1](first, prototypes))
