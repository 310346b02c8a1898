"""Layers whose weights hold ``k`` members: ``(k, ...)``, one product for all.

Every layer maps ``(k, batch, ...)`` to ``(k, batch, ...)``; member ``i`` sees
only ``x[i]`` and its own weights, so that training ``k`` members together is
training each of them alone.

The layers of a multilayer perceptron also have a backward pass of their own, for
:func:`set_gradients`: ``record(x)`` gives the output and a tuple of tensors to save,
and ``backward(gradient, saved, wanted)`` sets the gradients of the parameters and
gives the gradient of the input (None where it is not wanted), for which it may use the
memory of the gradient it is given; ``bind()`` comes first.
"""

from math import prod

import torch
from torch import nn
from torch.nn import functional as F

from skdeepad._products import (
    onednn_rows,
    openblas_product,
    openblas_rows,
    use_onednn,
)

# Numbers in the widest vector register. What is left after the last full register is
# computed by other code, which rounds in another way; and a product whose rows are
# narrower than a register is rounded by where in memory they lie.
FLOAT32_LANES, FLOAT64_LANES = 16, 8

# Random numbers a member draws ahead at once: enough to hide the call's cost.
NOISE_BLOCK = 2**16


def is_narrow(columns):
    """Whether a product on the CPU is quicker as its transpose, by up to four times.

    Its rows then leave most of a vector register empty.
    """
    return columns < 24 and columns != 16


# Rows for each row or column of a weight from which one thread is quicker to take
# float64 products as their transposes, by up to a half.
MANY_ROWS = 4


def empty(*shape):
    """Memory for weights, of one type and place, whatever the user's defaults are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


class Initialized(nn.Module):
    """A layer that draws its parameters from one generator per member.

    Weights and biases are uniform on ``±1/sqrt(fan_in)``, torch's default.
    """

    fan_in: int

    def initialize(self, generators):
        """Draw parameters of shape ``(k, ...)``, member i from generator i."""
        bound = self.fan_in**-0.5
        for parameter in self.parameters():
            for member, generator in zip(parameter.data, generators, strict=True):
                member.uniform_(-bound, bound, generator=generator)


class Product(Initialized):
    """A layer whose products are taken in ``dtype`` where that is given.

    Its parameters stay as they are, and so do other layers, which take what comes.
    """

    dtype = None

    def cast(self, *tensors):
        """Tensors as the product takes them; None stays None."""
        if self.dtype is None:
            return tensors
        return [
            tensor if tensor is None else lowered(tensor, self.dtype)
            for tensor in tensors
        ]


def lowered(tensor, dtype):
    """A tensor in another type; itself where it is of that type."""
    if tensor.dtype == dtype:
        return tensor
    # A slice of one member's batch keeps its strides otherwise, and is copied again.
    return tensor.to(dtype, memory_format=torch.contiguous_format)


def set_dtype(network, dtype):
    """Take the products of all layers in a type; None takes the parameters' own."""
    for layer in network.modules():
        if isinstance(layer, Product):
            layer.dtype = dtype


class Linear(Product):
    """``(k, batch, in_features)`` to ``(k, batch, out_features)``.

    Shape
    -----
    weight : ``(k, in_features, out_features)``
    bias : ``(k, 1, out_features)``
    """

    def __init__(self, members, in_features, out_features, bias=True):
        super().__init__()
        self.fan_in = in_features
        self.weight = nn.Parameter(empty(members, in_features, out_features))
        self.bias = nn.Parameter(empty(members, 1, out_features)) if bias else None
        self._is_narrow = is_narrow(out_features)
        self._takes_narrow = is_narrow(in_features)

    def forward(self, x):
        x, weight, bias = self.cast(x, self.weight, self.bias)
        transposed = self._is_narrow or (
            x.dtype == torch.float64
            and x.shape[1] >= MANY_ROWS * max(weight.shape[1:])
            and torch.get_num_threads() == 1
        )
        return self._affine(x, weight, weight.mT, bias, transposed)

    def _affine(self, x, weight, weight_t, bias, transposed):
        if transposed:
            if bias is None:
                return torch.bmm(weight_t, x.mT).mT
            return torch.baddbmm(bias.mT, weight_t, x.mT).mT
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)

    def bind(self):
        """Note the tensors of a step, which a module is slow to look up."""
        weight, bias = self.weight.data, None if self.bias is None else self.bias.data
        bias_gradient = None if bias is None else gradient_of(self.bias)
        self.bound = weight, bias, gradient_of(self.weight), bias_gradient
        self._operand = weight
        if self.dtype is not None:
            # Memory to keep: new pages cost more than what is written to them.
            self._operand = weight.to(self.dtype)
            self._low_gradient = torch.empty_like(self._operand)
        self._operand_t = self._operand.mT
        self._onednn_rows = onednn_rows(self._operand)
        self._openblas_rows = range(0)
        # Of other widths, columns after the last full register are rounded otherwise.
        is_alike = self._is_narrow or weight.shape[2] % FLOAT32_LANES == 0
        if is_alike and not self._onednn_rows:
            self._openblas_rows = openblas_rows(self._operand)

    def unbind(self):
        """Let go of the tensors of a step."""
        self.bound = self._operand = self._operand_t = self._low_gradient = None

    def refresh(self):
        """Take over weights that have changed, in the products' own type."""
        self._operand.copy_(self.bound[0])

    def record(self, x):
        bias, like = self.bound[1], x
        if x.shape[1] in self._openblas_rows and not self._is_narrow:
            y = openblas_product(x, self._operand)
            return y if bias is None else y.add_(bias), (x, like)
        if self.dtype is not None:
            x, bias = self.cast(x, bias)
        use_onednn(x.shape[1] in self._onednn_rows)
        operands = self._operand, self._operand_t
        return self._affine(x, *operands, bias, self._is_narrow), (x, like)

    def backward(self, gradient, saved, wanted):
        x, like = saved
        _, bias, weight_gradient, bias_gradient = self.bound
        by_openblas = x.shape[1] in self._openblas_rows and gradient.stride(2) == 1
        use_onednn(x.shape[1] in self._onednn_rows)
        if self.dtype is not None:
            gradient = lowered(gradient, self.dtype)
            if bias is not None:
                # Added up in float32, and rounded as the weights' gradients are.
                bias_gradient.copy_(gradient.sum(1, keepdim=True))
            torch.bmm(x.mT, gradient, out=self._low_gradient)
            weight_gradient.copy_(self._low_gradient)
        else:
            if bias is not None:
                torch.sum(gradient, 1, keepdim=True, out=bias_gradient)
            self._set_weight_gradient(x, gradient, weight_gradient, by_openblas)
        if not wanted:
            return None
        if self._takes_narrow:
            gradient = torch.bmm(self._operand, gradient.mT).mT
        elif self._is_narrow and by_openblas:
            gradient = openblas_product(gradient, self._operand_t)
        else:
            gradient = torch.bmm(gradient, self._operand_t)
        return gradient if self.dtype is None else gradient.to(like.dtype)

    def _set_weight_gradient(self, x, gradient, out, by_openblas):
        if self._is_narrow:
            x, gradient, out = gradient, x, out.mT
        if by_openblas:
            openblas_product(x.mT, gradient, out)
        elif out.is_contiguous():
            torch.bmm(x.mT, gradient, out=out)
        else:  # padded, for which bmm would take one member at a time
            out.copy_(torch.bmm(x.mT, gradient))


def refresh(layers):
    """Let layers of another type take over weights that have changed."""
    for layer in layers:
        layer.refresh()


def gradient_of(parameter):
    """A parameter's gradient to fill, made where there is none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def to_channels(x):
    """``(k, batch, c, ...)`` to ``(batch, k * c, ...)``: members as channel groups."""
    return x[0] if x.shape[0] == 1 else x.transpose(0, 1).flatten(1, 2)


def from_channels(x, members):
    """``(batch, k * c, ...)`` back to ``(k, batch, c, ...)``."""
    if members == 1:
        return x.unsqueeze(0)
    return x.unflatten(1, (members, -1)).transpose(0, 1)


class Conv2d(Product):
    """3 x 3 convolution, stride 2, padding 1: halves height and width, rounding up.

    Shape
    -----
    weight : ``(k, out_channels, in_channels, 3, 3)``
    bias : ``(k, out_channels)``
    """

    def __init__(self, members, in_channels, out_channels, bias=True):
        super().__init__()
        self.fan_in = in_channels * 9
        self.weight = nn.Parameter(empty(members, out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(empty(members, out_channels)) if bias else None

    def forward(self, x):
        members = len(self.weight)
        x, weight, bias = self.cast(x, self.weight, self.bias)
        y = F.conv2d(
            to_channels(x),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            stride=2,
            padding=1,
            groups=members,
        )
        return from_channels(y, members)


class ConvTranspose2d(Product):
    """3 x 3 transposed convolution, stride 2, onto an image of a given size.

    ``output_size`` is the height and width that a :class:`Conv2d` halved; its
    parity settles the output padding.

    Shape
    -----
    weight : ``(k, in_channels, out_channels, 3, 3)``
    bias : ``(k, out_channels)``
    """

    def __init__(self, members, in_channels, out_channels, output_size, bias=True):
        super().__init__()
        # The expected number of inputs of an output pixel: a quarter of the 9 taps.
        self.fan_in = max(1, in_channels * 9 // 4)
        self.output_padding = tuple(1 - size % 2 for size in output_size)
        self.weight = nn.Parameter(empty(members, in_channels, out_channels, 3, 3))
        self.bias = nn.Parameter(empty(members, out_channels)) if bias else None

    def forward(self, x):
        members = len(self.weight)
        x, weight, bias = self.cast(x, self.weight, self.bias)
        y = F.conv_transpose2d(
            to_channels(x),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            stride=2,
            padding=1,
            output_padding=self.output_padding,
            groups=members,
        )
        return from_channels(y, members)


def has_convolutions(network):
    """Whether there are convolutions among its layers."""
    return any(isinstance(m, Conv2d | ConvTranspose2d) for m in network.modules())


class BatchNorm(nn.Module):
    """Batch normalisation of each feature (or channel) of each member.

    A batch of one row has no variance: it is normalised with the running
    statistics, which it leaves alone.

    Shape
    -----
    weight, bias, running_mean, running_var : ``(k, features)``
    """

    momentum = 0.1
    eps = 1e-5

    def __init__(self, members, features, affine=True):
        super().__init__()
        # Not trained where it is not affine: it stays one and zero.
        self.weight, self.bias = (
            nn.Parameter(empty(members, features), requires_grad=affine)
            for _ in range(2)
        )
        self.register_buffer("running_mean", empty(members, features))
        self.register_buffer("running_var", empty(members, features))

    def initialize(self, generators):
        """Start as the identity; nothing is random."""
        self.weight.data.fill_(1.0)
        self.bias.data.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1.0)

    def forward(self, x):
        statistics = self.running_mean, self.running_var
        flat = to_channels(x).to(self.weight.dtype)
        y, _, _ = torch.native_batch_norm(
            flat,
            *(parameter.reshape(-1) for parameter in (self.weight, self.bias)),
            *(tensor.view(-1) for tensor in statistics),  # views: they are updated
            self.training and len(flat) > 1,
            self.momentum,
            self.eps,
        )
        return from_channels(y, x.shape[0])

    def bind(self):
        """Note the tensors of a step, ``(k, 1, features)``."""
        tensors = self.weight.data, self.bias.data, self.running_mean, self.running_var
        gradients = gradient_of(self.weight), gradient_of(self.bias)
        self.bound = [tensor.unsqueeze(1) for tensor in (*tensors, *gradients)]

    def unbind(self):
        """Let go of the tensors of a step."""
        self.bound = None

    # By the formula: torch's own kernel needs copies to its layout and back.

    def record(self, x):
        weight, bias, running_mean, running_var, _, _ = self.bound
        n_rows = x.shape[1]
        like, x = x, x.to(weight.dtype)
        if self.training and n_rows > 1:
            mean = x.mean(1, keepdim=True)
            z = x - mean
            var = z.square().mean(1, keepdim=True)
            running_mean.lerp_(mean, self.momentum)
            running_var.lerp_(var * (n_rows / (n_rows - 1)), self.momentum)
            inverse_std = var.add_(self.eps).rsqrt_()
        else:
            z = x - running_mean
            inverse_std = (running_var + self.eps).rsqrt_()
        z.mul_(inverse_std)
        return torch.addcmul(bias, z, weight), (z, inverse_std, like)

    def backward(self, gradient, saved, wanted):
        z, inverse_std, like = saved
        gradient = gradient.to(z.dtype)
        weight, _, _, _, weight_gradient, bias_gradient = self.bound
        n_rows = z.shape[1]
        torch.sum(gradient * z, 1, keepdim=True, out=weight_gradient)
        torch.sum(gradient, 1, keepdim=True, out=bias_gradient)
        if self.training and n_rows > 1:
            # The batch's mean and variance moved with each of its rows.
            gradient = torch.addcmul(gradient, z, weight_gradient, value=-1 / n_rows)
            gradient.sub_(bias_gradient, alpha=1 / n_rows)
        return (gradient * (weight * inverse_std)).to(like.dtype)


class Activation(nn.Module):
    """An activation function by name, a key of ``ACTIVATIONS``."""

    def __init__(self, name):
        super().__init__()
        self._function, self._in_place, self._derivative = ACTIVATIONS[name]

    def forward(self, x):
        if self._in_place is None or torch.is_grad_enabled():
            return self._function(x)
        return self._in_place(x)  # the output of the layer before, needed no more

    def record(self, x):
        if self._in_place is None:
            return self._function(x), (x,)
        # A layer before saves its input, not its output, which may be overwritten.
        y = self._in_place(x)
        return y, (y,)

    def backward(self, gradient, saved, wanted):
        return self._derivative(gradient, saved[0])


_aten = torch.ops.aten

# By functions that round a number alike wherever it lies in memory, which torch's own
# of these names do not: they take full vectors by other code than what is left.


def sigmoid(x):
    """``1 / (1 + exp(-x))``; 2e-35 below -80, where the exponential would overflow."""
    return x.clamp(min=-80.0).neg().exp().add(1.0).reciprocal()


def _elu(x):
    return torch.where(x > 0, x, x.clamp(max=0.0).expm1())


def _gelu(x):
    return 0.5 * x * (1 + torch.erf(x * 0.5**0.5))


# Below -80 a sigmoid is next to nothing, but not times a number of any size.


def _silu(x):
    return x.clamp(min=-80.0) * sigmoid(x)


def _silu_gradient(g, x):
    x = x.clamp(min=-80.0)
    s = sigmoid(x)
    return g.mul_(s * (1 + x * (1 - s)))


def softplus(x):
    """``log(1 + exp(x))``."""
    return torch.where(x > 20.0, x, x.clamp(max=20.0).exp().log1p())


# The function; the same in place, where the derivative can be had from the output;
# and the derivative times a gradient, in place, from output or input accordingly.
ACTIVATIONS = {
    "relu": (
        torch.relu,
        torch.relu_,
        lambda g, y: _aten.threshold_backward.grad_input(g, y, 0, grad_input=g),
    ),
    "leaky_relu": (
        F.leaky_relu,
        F.leaky_relu_,
        lambda g, y: _aten.leaky_relu_backward.grad_input(
            g, y, 0.01, True, grad_input=g
        ),
    ),
    "elu": (_elu, None, lambda g, x: g.mul_(x.clamp(max=0.0).exp())),
    "gelu": (
        _gelu,
        None,
        lambda g, x: _aten.gelu_backward.grad_input(g, x, grad_input=g),
    ),
    "silu": (_silu, None, _silu_gradient),
    "softplus": (softplus, None, lambda g, x: g.mul_(sigmoid(x))),
    "tanh": (
        torch.tanh,
        torch.tanh_,
        lambda g, y: _aten.tanh_backward.grad_input(g, y, grad_input=g),
    ),
    "sigmoid": (
        sigmoid,
        lambda x: x.copy_(sigmoid(x)),
        lambda g, y: g.mul_(y * (1 - y)),
    ),
    "identity": (torch.clone, lambda x: x, lambda g, y: g),
}

# Those whose derivative goes by the sign of the output alone.
BY_SIGN = {"relu", "leaky_relu", "identity"}


class Stochastic(nn.Module):
    """A layer that needs fresh random numbers at each training step.

    A member draws from a generator of its own seed, in blocks whose size does not
    depend on ``k``: its numbers are the same whoever trains beside it. Those of
    members with one seed (candidates of a search) are therefore drawn once.
    """

    _block = None
    # Numbers to take instead of fresh ones, while a step is recorded to be replayed.
    given = None

    def settings(self, members):
        """What a member's numbers depend on besides its seed, a list."""
        return [None] * members

    def draw(self, block, setting, generator):
        """Fill a block of random numbers in place."""
        raise NotImplementedError

    def seed(self, seeds, make_generators, n_steps):
        """Draw for members of these seeds, from the next step on.

        Parameters
        ----------
        seeds : sequence of int, length k
        make_generators : callable
            Maps seeds to generators.
        n_steps : int
            Steps to come, for which more need not be drawn ahead.
        """
        members = list(zip(seeds, self.settings(len(seeds)), strict=True))
        streams = list(dict.fromkeys(members))
        generators = make_generators([seed for seed, _ in streams])
        self._streams = [(s, g) for (_, s), g in zip(streams, generators, strict=True)]
        # One stream for all broadcasts, and one for each needs no copies.
        shared = 1 < len(streams) < len(members)
        self._which = [streams.index(m) for m in members] if shared else None
        self._n_steps, self._ahead = n_steps, []

    def noise_like(self, x):
        """Numbers for ``x``, ``(k, batch, ...)``, for one step.

        ``(1, batch, ...)`` where all members have the same. Overwritten later.
        """
        return self.fresh_noise_like(x) if self.given is None else self.given

    def memory_of_a_step(self):
        """Memory for the numbers of one step, of the shape drawn before."""
        members = len(self._block) if self._which is None else len(self._which)
        return self._block.new_empty(members, *self._block.shape[2:])

    def fresh_noise_like(self, x):
        """The next step's numbers for ``x``, of which only the shape counts."""
        rows = x.shape[1]
        if not self._ahead or rows > self._ahead[-1].shape[1]:
            self._draw_ahead(x)
        noise = self._ahead.pop()
        if noise.shape[1] > rows:
            noise = noise[:, :rows]
        return noise if self._which is None else noise.index_select(0, self._which)

    def _draw_ahead(self, x):
        n_steps = min(self._n_steps, max(1, NOISE_BLOCK // prod(x.shape[1:])))
        shape = len(self._streams), n_steps, *x.shape[1:]
        if self._block is None or self._block.shape != shape:
            # Kept and filled again: new memory costs more than the numbers.
            self._block = x.new_empty(shape)
        if self._which is not None:
            self._which = torch.as_tensor(self._which, device=x.device)
        for block, stream in zip(self._block, self._streams, strict=True):
            self.draw(block, *stream)
        self._ahead = list(self._block.unbind(1))


class Dropout(Stochastic):
    """Zero each unit with probability ``p`` in training, and scale the rest up.

    ``p`` is a list, one probability a member. After an ``activation`` of which the
    output's sign is all that is needed again, the output is overwritten: a dropped
    unit has no gradient either way.
    """

    def __init__(self, members, p, activation):
        super().__init__()
        self.p = [p] * members
        self._in_place = activation in BY_SIGN

    def join(self, settings):
        """Take over the members of other layers, whose settings are given."""
        self.p = [p for own in settings for p in own]

    def settings(self, members):
        """Each member's probability."""
        return self.p

    def draw(self, block, p, generator):
        # A unit is kept by 16 random bits, four units an integer: several times
        # quicker than bernoulli_. The probability is the next of 65536.
        n_dropped = min(round(p * 2**16), 2**16 - 1)
        n_units = block.numel()
        bits = torch.empty(-(-n_units // 4), dtype=torch.int64, device=block.device)
        bits.random_(-(2**63), None, generator=generator)
        lanes = bits.view(torch.int16)[:n_units].view_as(block)
        torch.ge(lanes, n_dropped - 2**15, out=block)
        block.div_(1 - n_dropped / 2**16)

    def forward(self, x):
        return x * self.noise_like(x) if self.training else x

    def record(self, x):
        if not self.training:
            return x if self._in_place else x.clone(), ()
        mask = self.noise_like(x)
        return x.mul_(mask) if self._in_place else x * mask, (mask,)

    def backward(self, gradient, saved, wanted):
        return gradient.mul_(saved[0]) if saved else gradient


class GaussianNoise(Stochastic):
    """``x + std * e`` with standard normal ``e`` in training, ``x`` otherwise."""

    def draw(self, block, setting, generator):
        block.normal_(generator=generator)

    def forward(self, x, std):
        return x + std * self.noise_like(x) if self.training else x


class UniformNoise(Stochastic):
    """Numbers between -1 and 1, ``(k or 1, batch, n)``, in training."""

    def draw(self, block, setting, generator):
        block.uniform_(-1.0, 1.0, generator=generator)


class Center(nn.Module):
    """A point in the code's space, ``(k, 1, latent_dim)``, started at random."""

    def __init__(self, members, latent_dim):
        super().__init__()
        self.value = nn.Parameter(empty(members, 1, latent_dim))

    def initialize(self, generators):
        """Draw from the standard normal distribution."""
        for member, generator in zip(self.value.data, generators, strict=True):
            member.normal_(generator=generator)


class Origin(Center):
    """A point in the rows' space, ``(k, 1, n_features)``, started at zero."""

    def initialize(self, generators):
        """Start at zero; nothing is random."""
        self.value.data.zero_()


def has_own_backward(layers):
    """Whether all layers have a backward pass of their own."""
    return all(hasattr(layer, "record") for layer in layers)


def set_gradients(x, layers, loss):
    """Pass ``x`` through layers and back: sets the gradients of their parameters.

    Without autograd, which costs a small network as much as its products do.

    Parameters
    ----------
    x : Tensor of shape (k, batch, ...)
    layers : list
        Each parameter belongs to one of them, and each of them is there once.
    loss : callable
        Maps the last layer's output to each member's loss, ``(k,)``, and the gradient
        of their sum.

    Returns
    -------
    loss : Tensor of shape (k,)
    """
    saved = []
    for layer in layers:
        x, tensors = layer.record(x)
        saved.append(tensors)
    use_onednn(False)  # the loss may have products of its own
    value, gradient = loss(x)
    for i in range(len(layers) - 1, -1, -1):
        gradient = layers[i].backward(gradient, saved[i], i > 0)
    use_onednn(False)
    return value


def outputs(x, layers):
    """Pass ``x`` through layers, for what no gradient is to flow back from."""
    for layer in layers:
        x, _ = layer.record(x)
    use_onednn(False)
    return x


def squared_error(output, target, weight):
    """Sum of squared differences times a number, ``(k,)``, and its gradient."""
    # It has the target's layout, in which rows lie one after the other.
    difference = target - output
    value = sum_of_squares(difference).mul_(weight)
    return value, difference.mul_(-2 * weight)


def sum_of_squares(x):
    """Sum over all but the first dimension, ``(k,)``."""
    return x.flatten(1).square().sum(1)
