"""INP-Former's losses and scores against values by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from brainuad.methods.inp_former import INPFormer, mined_cosine, nearest_prototype, place_code
from brainuad.networks.prototype_former import PrototypeFormer
from brainuad.types import Batch


class Pixels(nn.Module):
    """Two layers: the image's two channels, and twice them; each pixel is a cell."""

    def features(self, image, layers):
        return [image, 2 * image][:layers]


class Copier(PrototypeFormer):
    """Prototypes e_1 and e_2; each token is rebuilt as (1, 0)."""

    def __init__(self):
        super().__init__(width=2, heads=1, prototypes=2, blocks=2)

    def prototypes_of(self, tokens, inside):
        return torch.eye(2).expand(len(tokens), 2, 2)

    def rebuild(self, tokens, prototypes, place=None):
        flat = torch.zeros_like(tokens)
        flat[..., 0] = 1
        return [flat, flat]


def scan(*cells):
    """One row of cells of two channels, all of them brain."""
    image = torch.tensor(cells).T[None, :, None]
    return Batch(image, torch.ones(1, 1, 1, len(cells), dtype=torch.bool))


def detector(**options):
    plain = {"standardise": False, "place": False, "smoothing": 0.0}
    return INPFormer(Pixels(), Copier(), **{**plain, **options}).eval()


def test_the_score_is_the_cosine_distance_to_what_is_rebuilt():
    found = detector().anomaly_map(*scan([1.0, 0.0], [0.0, 3.0], [1.0, 1.0]))
    assert found.flatten().tolist() == pytest.approx([0, 1, 1 - 0.5**0.5], abs=1e-6)


def test_coherence_scores_by_the_nearest_prototype():
    found = detector(scores_by="coherence").anomaly_map(*scan([1.0, 0.0], [0.0, 3.0], [1.0, 1.0]))
    assert found.flatten().tolist() == pytest.approx([0, 0, 1 - 0.5**0.5], abs=1e-6)


def test_the_objective_by_hand():
    """Flattened, (1, 0, 0, 3) and (1, 0, 1, 0) have the cosine 1 / (sqrt 10 sqrt 2)."""
    terms = detector(coherence=0.2, mining=0.0).loss(scan([1.0, 0.0], [0.0, 3.0]))
    assert terms["decoder"].item() == pytest.approx(1 - 1 / math.sqrt(20))
    assert terms["coherence"].item() == pytest.approx(0, abs=1e-6)
    terms = detector(coherence=0.2, mining=0.0).loss(scan([1.0, 1.0]))
    assert terms["loss"].item() == pytest.approx(1.2 * (1 - 0.5**0.5))


def test_cells_outside_the_brain_do_not_count():
    image, mask = scan([1.0, 0.0], [0.0, 3.0], [1.0, 1.0])
    mask[..., 1] = False
    terms = detector().loss(Batch(image, mask))
    flat = torch.tensor([[1.0, 0, 1, 1]]), torch.tensor([[1.0, 0, 1, 0]])
    assert terms["decoder"].item() == pytest.approx(1 - functional.cosine_similarity(*flat).item())


def test_soft_mining_multiplies_the_gradient_of_each_token():
    given = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    rebuilt = torch.tensor([[[1.0, 1.0], [3.0, 1.0], [1.0, 0.0]]])
    inside = torch.tensor([[True, True, False]])
    gradients = []
    for exponent in (0.0, 3.0):
        x = rebuilt.clone().requires_grad_()
        mined_cosine(given, x, inside, exponent).backward()
        gradients.append(x.grad[0])
    distance = torch.tensor([1 - 0.5**0.5, 1 - 0.1**0.5])
    factor = (distance / distance.mean()) ** 3
    torch.testing.assert_close(gradients[1][:2], gradients[0][:2] * factor[:, None])
    assert not gradients[1][2].any()


def test_the_nearest_prototype_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    tokens, prototypes = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 4, 3)
    found = nearest_prototype(tokens, prototypes)
    for image in range(2):
        for token in range(5):
            cosines = [
                functional.cosine_similarity(tokens[image, token], one, dim=0)
                for one in prototypes[image]
            ]
            assert found[image, token].item() == pytest.approx(1 - max(cosines).item(), abs=1e-6)


def test_channels_are_standardised_by_the_cells_of_the_brain():
    one = detector(standardise=True)
    image, mask = scan([1.0, 10.0], [3.0, 10.0], [100.0, 7.0])
    mask[..., 2] = False
    one.measure([Batch(image, mask)])
    assert one.centre.tolist() == [[2, 10], [4, 20]]
    assert one.spread[:, 0].tolist() == [1, 2]
    tokens = one._tokens(image, mask)[0]
    assert tokens[0, :, :2, 0].tolist() == [[-1, 1], [-1, 1]]


def test_places_have_codes_of_their_own():
    code = place_code([4, 5], 10)
    assert code.shape == (20, 10)
    assert torch.equal(code[:, 8:], torch.zeros(20, 2))
    assert len({tuple(row) for row in code.tolist()}) == 20
    # The first cell: angle 0 along both axes, sines before cosines.
    assert code[0, :8].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_a_decoder_without_a_block_for_each_layer_is_refused():
    with pytest.raises(ValueError, match=r"2 blocks for 1 layers"):
        INPFormer(Pixels(), Copier(), layers=[0])
