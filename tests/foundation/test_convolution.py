"""The quick convolutions are the library's, forward and backward, and keep rows apart."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from interp_plugins.foundation import convolution
from interp_plugins.foundation.convolution import (
    KERNEL,
    RECIPROCALS,
    Contiguous,
    StridedStem,
    Winograd,
    quicker,
    replace,
)
from interp_plugins.foundation.prepare import prepare

WINOGRAD_ERROR = 3e-5  # of the largest value, fp32; 1e-5 is usual with 256 channels
STEM_ERROR = 2e-6
CONTIGUOUS_ERROR = 2e-6


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def layer(*settings: int, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Conv2d:
    made = nn.Conv2d(*settings, bias=bias).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(noise(*parameter.shape) / parameter[0].numel() ** 0.5)
    return made.requires_grad_(False)


def both(module: Callable[[Tensor], Tensor], images: Tensor, cotangent: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What the module makes of the images, and the gradient of a random sum of it."""
    leaf = images.clone().requires_grad_()
    made = module(leaf)
    pull = noise(*made.shape, dtype=made.dtype) if cotangent is None else cotangent
    return made.detach(), torch.autograd.grad(made, leaf, pull)[0]


def assert_same(quick: nn.Module, original: nn.Conv2d, images: Tensor, error: float) -> None:
    expected = both(original.double(), images.double())
    for got, want in zip(both(quick, images), expected, strict=True):
        assert (got - want).abs().max() <= error * want.abs().max()


def test_turned_weights_are_the_weights_at_the_reciprocal_points():
    assert torch.equal(KERNEL[RECIPROCALS], KERNEL.flip(1))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 8), (7, 7), (8, 5), (13, 10)])
@pytest.mark.parametrize("bias", [True, False])
def test_winograd_is_the_convolution_at_any_size(height: int, width: int, bias: bool):
    original = layer(5, 7, 3, 1, 1, bias=bias, dtype=torch.float64)
    assert_same(Winograd(original), original, noise(2, 5, height, width, dtype=torch.float64), 1e-13)


def test_winograd_in_single_precision_is_off_by_less_than_its_error():
    original = layer(256, 192, 3, 1, 1)
    assert_same(Winograd(original), original, noise(2, 256, 14, 13), WINOGRAD_ERROR)


@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.integers(1, 5),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    size=st.tuples(st.integers(7, 17), st.integers(7, 17)),
    channels=st.integers(1, 4),
    bias=st.booleans(),
)
def test_a_stem_is_the_convolution_for_any_kernel_stride_padding_and_size(
    kernel, stride, padding, size, channels, bias
):
    original = layer(channels, 6, kernel, stride, padding, bias=bias)  # type: ignore[arg-type]
    assert_same(StridedStem(original), original, noise(2, channels, *size), STEM_ERROR)


@pytest.mark.parametrize("size", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_in_contiguous_memory_it_is_the_convolution_whatever_the_memory_it_comes_from(size: int, bias: bool):
    original = layer(256, 512, 3, 1, 1, bias=bias)
    images = noise(2, 256, size, size + 1)
    for memory in (torch.contiguous_format, torch.channels_last):
        quick = Contiguous(original.float().to(memory_format=memory)).to(memory_format=torch.channels_last)
        assert quick.weight.is_contiguous()
        made = quick(images.to(memory_format=memory))
        assert made.is_contiguous(memory_format=torch.channels_last)
        assert_same(quick, original, images.to(memory_format=memory), CONTIGUOUS_ERROR)


@pytest.mark.parametrize(
    "quick",
    [Winograd(layer(2, 3, 3, 1, 1)), StridedStem(layer(2, 3, 5, 2, 2)), Contiguous(layer(2, 3, 3, 1, 1))],
)
def test_the_gradient_is_the_slope(quick: nn.Module):
    assert torch.autograd.gradcheck(quick.double(), noise(2, 2, 5, 6, dtype=torch.float64).requires_grad_())


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("original", [layer(4, 6, 3, 1, 1), layer(3, 6, 5, 2, 2)], ids=["winograd", "stem"])
def test_a_layer_that_works_in_place_may_follow(original: nn.Conv2d, size: int):
    quick = Winograd(original) if original.stride == (1, 1) else StridedStem(original)
    images = noise(1, original.in_channels, size, 8)
    want = both(nn.Sequential(original, nn.ReLU()), images)
    got = both(nn.Sequential(quick, nn.ReLU(inplace=True)), images)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def row_cases() -> list[object]:
    wide, stem = layer(192, 256, 3, 1, 1), layer(3, 16, 7, 2, 3)
    return [
        pytest.param(Winograd(wide), (192, 7, 9), 2**23, id="winograd, all rows at once"),
        pytest.param(Winograd(wide), (192, 7, 9), 36 * 6 * 256 * 4 * 3, id="winograd, where three rows would fit"),
        pytest.param(Winograd(wide), (192, 7, 9), 1, id="winograd, row by row"),
        pytest.param(StridedStem(stem), (3, 33, 30), 2**23, id="stem"),
        pytest.param(Contiguous(layer(256, 512, 3, 1, 1)), (256, 4, 5), 2**23, id="contiguous"),
    ]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("quick", "shape", "group"), row_cases())
def test_a_row_is_the_same_to_the_bit_in_every_place_among_any_neighbours(quick, shape, group, monkeypatch):
    monkeypatch.setattr(convolution, "GROUP_BYTES", group)
    rows = noise(8, *shape).contiguous(memory_format=torch.channels_last)
    pulls = noise(*quick(rows).shape)
    made, gradient = both(quick, rows, pulls)
    for turn in range(8):
        order = torch.arange(8).roll(turn)
        again = both(quick, rows[order], pulls[order])
        assert torch.equal(again[0], made[order])
        assert torch.equal(again[1], gradient[order])
    alone = both(quick, rows[3:4].expand(8, -1, -1, -1), pulls[3:4].expand(8, -1, -1, -1))
    assert torch.equal(alone[0], made[3:4].expand_as(made))
    assert torch.equal(alone[1], gradient[3:4].expand_as(gradient))


class Net(nn.Module):
    """Every kind of layer that `quicker` has to tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 192, 7, 2, 3)
        self.wide = nn.Sequential(nn.BatchNorm2d(192), nn.ReLU(inplace=True), nn.Conv2d(192, 200, 3, 1, 1))
        self.same = nn.Conv2d(200, 192, 3, padding="same")
        self.grouped = nn.Conv2d(192, 192, 3, 1, 1, groups=2)
        self.dilated = nn.Conv2d(192, 192, 3, 1, 2, dilation=2)
        self.reflecting = nn.Conv2d(192, 192, 3, 1, 1, padding_mode="reflect")
        self.narrow = nn.Conv2d(192, 8, 3, 1, 1)
        self.unused = nn.Conv2d(192, 192, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.same(self.wide(self.stem(images)))
        return self.narrow(self.reflecting(self.dilated(self.grouped(seen)))).mean((2, 3))


def kinds(network: nn.Module) -> dict[str, type[nn.Module]]:
    return {name: type(module) for name, module in network.named_modules() if not isinstance(module, Net)}


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval().requires_grad_(False)


def test_the_stem_and_the_wide_layer_are_replaced_and_nothing_else():
    network = net()
    before = kinds(network)
    replace(network, quicker(network, noise(2, 3, 16, 16)))
    changed = {name: kind for name, kind in kinds(network).items() if before[name] is not kind}
    assert changed == {"stem": StridedStem, "wide.2": Winograd}


def test_a_layer_that_sees_few_pixels_is_left_alone_or_works_in_contiguous_memory():
    network = net()
    replace(network, quicker(network, noise(2, 3, 12, 16)))
    assert kinds(network)["wide.2"] is nn.Conv2d
    wide = nn.Sequential(nn.Conv2d(3, 256, 3, 2), nn.Conv2d(256, 512, 3, 1, 1), nn.Conv2d(512, 512, 3, 2, 1))
    replace(wide, quicker(wide, noise(2, 3, 12, 16)))
    assert [type(part) for part in wide] == [nn.Conv2d, Contiguous, nn.Conv2d]


@pytest.mark.parametrize(
    "register", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_a_layer_with_a_hook_is_left_alone(register: str):
    network = net()
    getattr(network.stem, register)(lambda *_: None)
    replace(network, quicker(network, noise(2, 3, 16, 16)))
    assert kinds(network)["stem"] is nn.Conv2d


def test_a_subclass_and_a_layer_with_a_forward_of_its_own_are_left_alone():
    class Own(nn.Conv2d):
        pass

    network = net()
    network.stem = Own(3, 192, 7, 2, 3)
    network.wide[2].forward = network.wide[2].forward
    replace(network, quicker(network, noise(2, 3, 16, 16)))
    assert kinds(network)["stem"] is Own
    assert kinds(network)["wide.2"] is nn.Conv2d


def test_double_precision_is_left_alone():
    network = net().double()
    before = kinds(network)
    replace(network, quicker(network, noise(2, 3, 16, 16, dtype=torch.float64)))
    assert kinds(network) == before


@pytest.mark.parametrize("size", [(16, 16), (21, 18), (9, 30)])
def test_a_prepared_network_is_the_network_also_at_sizes_it_was_not_prepared_for(size: tuple[int, int]):
    original = net()
    prepared = prepare(original, torch.rand(1, 3, 16, 16))
    assert {StridedStem, Winograd} <= set(kinds(prepared._network).values())
    images = noise(2, 3, *size).sigmoid()
    logits, gradients = prepared.gradients(images, lambda logits: [torch.ones_like(logits)])
    want, slope = both(original, images, torch.ones(2, 8))
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], slope, rtol=1e-3, atol=1e-4 * float(slope.abs().max()))


def test_a_prepared_network_keeps_rows_apart():
    prepared = prepare(net(), torch.rand(1, 3, 16, 16))
    images = noise(8, 3, 16, 16).sigmoid()
    logits, gradients = prepared.gradients(images, lambda logits: [logits])
    again = prepared.gradients(images.roll(3, 0), lambda logits: [logits])
    assert torch.equal(again[0], logits.roll(3, 0))
    assert torch.equal(again[1][0], gradients[0].roll(3, 0))


def test_bf16_and_double_precision_copies_keep_their_convolutions():
    for network, precision in ((net(), "bf16"), (net().double(), "fp32")):
        prepared = prepare(network, torch.rand(1, 3, 16, 16), precision)
        assert not {StridedStem, Winograd} & set(kinds(prepared._network).values())


def test_a_network_that_looks_into_its_layers_is_folded_only():
    class Curious(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) / self.wide[2].kernel_size[0]

    original = Curious().eval()
    prepared = prepare(original, torch.rand(1, 3, 16, 16))
    assert kinds(prepared._network)["wide.2"] is nn.Conv2d
    assert kinds(prepared._network)["wide.0"] is nn.Identity


def test_a_network_that_looks_into_its_normalisation_is_copied_only():
    class Curious(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * self.wide[0].weight.mean()

    prepared = prepare(Curious().eval(), torch.rand(1, 3, 16, 16))
    assert kinds(prepared._network) == kinds(Curious())
    assert prepared._network is not prepared.original
