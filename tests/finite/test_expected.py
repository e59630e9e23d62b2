"""Expected metrics against the closed form of Gaussian decoders and against means written out."""

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import expected_metric, fisher, pullback

Z = torch.tensor([[0.3, -0.4], [1.0, 0.2]], dtype=torch.float64)


def network(outputs, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, outputs)).double().eval()


def test_samples_of_a_gaussian_decoder_agree_with_the_closed_form():
    decoder = network(8)
    expected = pullback(decoder, Z, output="expected")
    jacobian = torch.stack([torch.autograd.functional.jacobian(decoder, z) for z in Z])
    scale = decoder(Z)[:, 4:, None].exp().detach()
    written = jacobian[:, :4].mT @ jacobian[:, :4] + (scale * jacobian[:, 4:]).mT @ (scale * jacobian[:, 4:])
    assert torch.allclose(expected.metric, written, rtol=1e-12)

    def sampled(seed):
        noise = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return lambda z: decoder(z)[..., :4] + decoder(z)[..., 4:].exp() * noise

    found = expected_metric(sampled, Z, samples=150)
    z = (found.mean - expected.metric) / found.standard_error
    assert (found.samples, float(z.abs().max()) < 4, float(z.abs().max()) > 0.1) == (150, True, True)


def test_an_ensemble_is_the_mean_of_its_members():
    members = [network(3, seed) for seed in range(3)]
    metrics = torch.stack([pullback(fisher(net), Z).metric for net in members])
    for given in (members, nn.ModuleList(members)):
        found = expected_metric(given, Z, output="fisher")
        assert torch.allclose(found.mean, metrics.mean(0), rtol=1e-12)
        assert torch.allclose(found.standard_error, metrics.std(0) / 3**0.5, rtol=1e-9)


def test_what_is_refused():
    for given, samples in (([network(3)], None), (network(3), None), ([network(3)] * 2, 2), (network, None), (3, None)):
        with pytest.raises(InvalidInput, match="pass"):
            expected_metric(given, Z, samples=samples)
