"""Convolutions whose gradient with respect to the image is cheap on a CPU, in fp32.

For copies that are searched: weights are frozen, and the input's gradient is the only one and has none of its own. The
function is the convolution's, to about 1e-5 of its largest value.

*Winograd.* A 3x3 convolution makes 4x4 outputs of a 6x6 tile with 36 products for a pair of channels where the
definition takes 144 (Lavin & Gray 2016, arXiv:1509.09308). The input's gradient is a convolution with the same weights
turned by half a circle. Lavin and Gray evaluate polynomials at 0, 1, -1, 2, -2 and infinity; here 1/2 stands for -2, so
that the points are their own reciprocals. Turned weights are then the same numbers in another order, kept once.

*Strided stem.* Each of the s x s phases of the image's gradient is a stride-1 convolution of the output's gradient.
Together they are one convolution and a pixel shuffle. With an image's few channels that is faster than oneDNN.

*Contiguous.* Where maps have few pixels, most of the work is to bring the weights into oneDNN's own order, and that is
quicker from contiguous than from channels-last memory. The maps are turned for it; they are small.

A row's result depends neither on its neighbours nor on its place in a tile of a power of two rows.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# A row is a point: 0, 1, -1, 2, 1/2, infinity. In one dimension: OUTPUT.T @ ((KERNEL @ weights) * (INPUT @ pixels)).
# fmt: off
KERNEL = torch.tensor([[1, 0, 0], [1, 1, 1], [1, -1, 1], [1 / 2, 1, 2], [2, 1, 1 / 2], [0, 0, 1]]).double()
INPUT = torch.tensor([[18, -45, 0, 45, -18, 0], [0, -18, 27, 27, -18, 0], [0, -2, 7, -7, 2, 0],
                      [0, 2, -4, -2, 4, 0], [0, 32, -16, -32, 16, 0], [0, -18, 45, 0, -45, 18]]).double() / 18
OUTPUT = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [1, -1, 1, -1],
                       [1, 2, 4, 8], [1, 1 / 2, 1 / 4, 1 / 8], [0, 0, 0, 1]]).double()
# fmt: on
RECIPROCALS = [5, 1, 2, 4, 3, 0]  # of the points: KERNEL[RECIPROCALS] is KERNEL.flip(1)
GROUP_BYTES = 2**23  # of the transformed tiles of the rows that are worked on at once: they stay in the cache
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Winograd(nn.Module):
    """A 3x3 convolution of stride 1 and padding 1, for images of any size.

    Args:
        convolution: The module whose weights and bias are taken.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach().permute(2, 3, 1, 0)
        points = torch.kron(KERNEL, KERNEL).to(weight.dtype) @ weight.flatten(0, 1).flatten(1)
        self.weight = _frozen(points.view(36, *weight.shape[2:]))
        self.bias = _bias(convolution)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """The convolution of the images."""
        result: Tensor = _Winograd.apply(images, self.weight, self.bias)
        return result


class StridedStem(nn.Module):
    """A convolution of one stride in both directions, without groups and dilation, for images of any size.

    Args:
        convolution: The module whose weights, bias, stride and padding are taken.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = _frozen(convolution.weight)
        self.bias = _bias(convolution)
        self.stride, self.padding = convolution.stride[0], convolution.padding
        outputs, inputs, height, width = self.weight.shape
        s, rows, columns = self.stride, -(-height // self.stride), -(-width // self.stride)
        whole = F.pad(self.weight, (0, columns * s - width, 0, rows * s - height))
        phases = whole.view(outputs, inputs, rows, s, columns, s).permute(1, 3, 5, 0, 2, 4).flip(4, 5)
        self.phases = _frozen(phases.reshape(inputs * s * s, outputs, rows, columns))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k y x"]:
        """The convolution of the images."""
        result: Tensor = _StridedStem.apply(images, self.weight, self.bias, self.phases, self.stride, self.padding)
        return result


class Contiguous(nn.Module):
    """A 3x3 convolution of stride 1 and padding 1 that works in contiguous memory inside a channels-last network.

    Args:
        convolution: The module whose weights and bias are taken.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.shape = convolution.weight.shape
        self.weight = _frozen(convolution.weight.flatten(1))  # a matrix: no change of the network's memory turns it
        self.bias = _bias(convolution)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """The convolution of the images."""
        made = F.conv2d(images.contiguous(), self.weight.view(self.shape), self.bias, padding=1)
        return made.contiguous(memory_format=torch.channels_last)


def quicker(network: nn.Module, noise: Float[Tensor, "n c h w"]) -> dict[str, type[nn.Module]]:
    """Which convolutions have a faster form for images of this size, and which.

    The choice is a rule on the shapes of one run and never a matter of timing. Nothing is replaced but an `nn.Conv2d`
    itself, no subclass, in fp32 on a CPU and without hooks. What replaces it is right for any other size as well.

    Args:
        network: A copy of a classifier, in eval mode.
        noise: Images to run it on once.

    Returns:
        The names of such convolutions with what takes their place, as `replace` takes them.
    """
    chosen: dict[nn.Conv2d, type[nn.Module]] = {}

    def choose(module: nn.Conv2d, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        faster = _faster(module, min(inputs[0].shape[2:]))
        if faster is not None:
            chosen.setdefault(module, faster)

    plain = {name: module for name, module in network.named_modules() if _is_plain(module)}
    with ExitStack() as hooks, torch.no_grad():
        for module in plain.values():
            hooks.enter_context(module.register_forward_hook(choose))
        network(noise)
    return {name: chosen[module] for name, module in plain.items() if module in chosen}


def replace(network: nn.Module, chosen: Mapping[str, type[nn.Module]]) -> None:
    """Replace convolutions, in place, by faster forms of them."""
    for name, faster in chosen.items():
        network.set_submodule(name, faster(network.get_submodule(name)))


def _is_plain(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and (module.weight.dtype, module.weight.device.type) == (torch.float32, "cpu")
        and (module.groups, module.dilation, module.padding_mode) == (1, (1, 1), "zeros")
        and not isinstance(module.padding, str)
        and "forward" not in vars(module)
        and not any(getattr(module, hooks) for hooks in HOOKS)
    )


def _faster(convolution: nn.Conv2d, size: int) -> type[nn.Module] | None:
    """What is faster at images of that many pixels across; measured with AVX-512, 8 rows of 4 to 224 pixels."""
    fewer, more = sorted((convolution.in_channels, convolution.out_channels))
    kernel, stride = convolution.kernel_size, convolution.stride
    if (kernel, stride, convolution.padding) == ((3, 3), (1, 1), (1, 1)):
        if size <= 6:
            return Contiguous if fewer >= 256 and more >= 512 else None
        wide = fewer >= 192 or (fewer >= 128 and more >= 256 and size >= 28)
        return Winograd if wide else None  # with fewer channels the transforms cost more than they save
    stem = convolution.in_channels <= 4 and stride[0] == stride[1] > 1
    return StridedStem if stem and min(kernel) >= 4 else None


def _bias(convolution: nn.Conv2d) -> nn.Parameter | None:
    return None if convolution.bias is None else _frozen(convolution.bias)


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().contiguous(), requires_grad=False)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _convolve(images, weight, bias, INPUT, OUTPUT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return _convolve(gradient, weight.mT, None, INPUT[RECIPROCALS], OUTPUT[RECIPROCALS]), None, None


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None, enter: Tensor, leave: Tensor) -> Tensor:
    (n, _, height, width), (_, inputs, outputs) = images.shape, weight.shape
    rows, columns = -(-height // 4), -(-width // 4)
    enter, leave = torch.kron(enter, enter).to(images.dtype), torch.kron(leave, leave).T.to(images.dtype)
    fitting = GROUP_BYTES // (36 * rows * columns * max(inputs, outputs) * images.element_size())
    group = 1 << max(fitting, 1).bit_length() - 1  # a power of two, so that no row is in a smaller group than another
    size = (n, outputs, 4 * rows, 4 * columns)
    result = torch.empty(size, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
    for part, made in zip(images.permute(0, 2, 3, 1).split(group), result.split(group), strict=True):
        padded = F.pad(part, (0, 0, 1, 4 * columns + 1 - width, 1, 4 * rows + 1 - height))
        row, column = padded.stride()[1:3]
        tiles = padded.as_strided(
            (6, 6, len(part), rows, columns, inputs),
            (row, column, padded.stride(0), 4 * row, 4 * column, padded.stride(3)),
        )
        products = torch.bmm((enter @ tiles.reshape(36, -1)).view(36, -1, inputs), weight)
        left = (leave @ products.flatten(1)).view(4, 4, len(part), rows, columns, outputs).permute(2, 3, 0, 4, 1, 5)
        place = made.permute(0, 2, 3, 1).view(len(part), rows, 4, columns, 4, outputs)
        place.copy_(left) if bias is None else torch.add(left, bias, out=place)
        del padded, tiles, products, left  # before the next group's are made
    if (height, width) == size[2:]:
        return result
    # a copy, for what a Function returns must not be a view: layers that work in place may follow
    return result[:, :, :height, :width].clone(memory_format=torch.channels_last)


class _StridedStem(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, phases: Tensor, *how: Any) -> Tensor:
        ctx.save_for_backward(phases)
        (ctx.stride, ctx.padding), ctx.size = how, images.shape[2:]
        return F.conv2d(images, weight, bias, *how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (phases,) = ctx.saved_tensors
        reach = [size - 1 for size in phases.shape[2:]]
        whole = F.pixel_shuffle(F.conv2d(gradient, phases, padding=reach), ctx.stride)
        (above, left), (height, width) = ctx.padding, ctx.size
        # the padding is cut off, and pixels that no window reached get a gradient of zero
        edges = (-left, width + left - whole.shape[3], -above, height + above - whole.shape[2])
        return F.pad(whole, edges), None, None, None, None, None
