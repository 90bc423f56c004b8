"""Materials as gray relief, ``(n, H, W)`` of range about 0..1. Lengths are in pixels, independent of the image size."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, log_uniform, per_image, uniform
from clipada.synthesis.patterns import flattened, gaussian_noise, voronoi
from nano.draws import Size, hashed, turned

Material = Callable[[int, Size, Generator], Tensor]


def woven_fabric(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw threads that go over and under each other."""
    return _threads(count, size, generator, step=1)


def twill(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw threads that go over two and under two, each row shifted by one: diagonal ribs."""
    return _threads(count, size, generator, step=2)


def _threads(count: int, size: Size, generator: Generator, step: int) -> Tensor:
    y, x = turned(count, size, generator)
    pitch = per_image(log_uniform(3.5, 12, (count,), generator))
    y, x = y / pitch, x / pitch * per_image(uniform(0.8, 1.25, (count,), generator))
    over = ((y.floor() + x.floor()) / step).floor() % 2 == 0
    along, across = torch.where(over, x, y) % 1, torch.where(over, y, x) % 1
    relief = (math.pi * along).sin().sqrt() * (0.6 + 0.4 * (math.pi * across).sin())
    return relief + _speck(count, size, generator, 0.15)


def knitted_wool(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw columns of V-shaped loops."""
    y, x = turned(count, size, generator, 20)
    pitch = per_image(log_uniform(6, 16, (count,), generator))
    column = x / pitch % 1
    loops = (2 * math.pi * (y / pitch * 1.3 + (column - 0.5).abs())).sin() * (math.pi * column).sin()
    return 0.5 + 0.5 * loops + _speck(count, size, generator, 0.15)


def brushed_metal(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw fine lines in one direction."""
    stretch = log_uniform(12, 50, (count,), generator)
    return flattened(gaussian_noise(uniform(0.4, 1.2, (count,), generator), size, generator, stretch=stretch))


def machined_metal(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw grooves of a tool, straight or around a center."""
    y, x = turned(count, size, generator)
    center = per_image(uniform(0, 128, (count,), generator))
    round_grooves = per_image(chance(0.5, (count,), generator))
    way = torch.where(round_grooves, ((y - center) ** 2 + (x - center) ** 2).sqrt(), y)
    wave = (2 * math.pi * way / per_image(log_uniform(2.5, 10, (count,), generator))).sin()
    slow = gaussian_noise(uniform(1, 2, (count,), generator), size, generator)
    return 0.5 + 0.3 * wave + 0.15 * slow


def cast_iron(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw grainy noise."""
    return flattened(gaussian_noise(uniform(0.5, 1.2, (count,), generator), size, generator))


def wood(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw warped growth rings with pores along them."""
    y, x = turned(count, size, generator)
    warp = gaussian_noise(uniform(1.8, 2.6, (count,), generator), size, generator)
    bent = per_image(uniform(1, 5, (count,), generator))
    rings = ((y + 0.1 * x) / per_image(log_uniform(6, 24, (count,), generator)) + 0.2 * bent * warp) % 1
    return 0.8 * rings + _speck(count, size, generator, 0.1)


def leather(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw grains between creases."""
    nearest, second, value = voronoi(count, size, generator)
    return ((second - nearest) * 2.5).clamp(0, 1) * (0.8 + 0.2 * value)


def granite(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw grains, each with its own shade."""
    _, _, value = voronoi(count, size, generator)
    return value + _speck(count, size, generator, 0.1)


def marble(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw thin veins over clouds."""
    field = gaussian_noise(uniform(1.6, 2.2, (count,), generator), size, generator)
    veins = (-field.abs() * per_image(uniform(4, 12, (count,), generator))).exp()
    return 0.6 + 0.2 * field.flip(1) - 0.5 * veins


def paper(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw faint fibers."""
    return flattened(gaussian_noise(uniform(0.2, 0.8, (count,), generator), size, generator))


def plastic(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw a slow change of tone."""
    return flattened(gaussian_noise(uniform(2.4, 3, (count,), generator), size, generator))


def tiles(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw square tiles with joints."""
    return _masonry(count, size, generator, offset=0.0, ratio=1.0)


def brick(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw rows of bricks, every other shifted by half a brick."""
    return _masonry(count, size, generator, offset=0.5, ratio=0.45)


def _masonry(count: int, size: Size, generator: Generator, offset: float, ratio: float) -> Tensor:
    y, x = turned(count, size, generator, 15)
    pitch = per_image(log_uniform(10, 36, (count,), generator))
    y = y / pitch
    x = x / pitch * ratio + y.floor() * offset
    edge = torch.minimum((y - y.round()).abs(), (x - x.round()).abs() / ratio)
    joint = ((edge * pitch - per_image(uniform(0.5, 2, (count,), generator))) * 1.5).clamp(0, 1)
    shade = hashed(y.floor(), x.floor(), per_image(uniform(1, 2, (count,), generator)))
    return joint * (0.7 + 0.3 * shade) + _speck(count, size, generator, 0.08)


def carpet(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw tufts: noise of one fine scale."""
    return flattened(1.3 * gaussian_noise(uniform(0, 0.3, (count,), generator), size, generator))


def concrete(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw clouds with small pits."""
    nearest, _, value = voronoi(count, size, generator)
    clouds = flattened(gaussian_noise(uniform(1, 1.8, (count,), generator), size, generator))
    return clouds - ((0.18 * value - nearest) * 12).clamp(0, 0.7)


def wire_mesh(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw wires across dark gaps."""
    y, x = turned(count, size, generator)
    pitch = per_image(log_uniform(7, 20, (count,), generator))
    width = per_image(uniform(0.15, 0.32, (count,), generator))
    wires = [(1 - ((way / pitch) % 1 - 0.5).abs() / width).clamp(0, 1).sqrt() for way in (y, x)]
    return torch.maximum(wires[0], wires[1])


def foam(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw round pores of several sizes."""
    nearest, _, value = voronoi(count, size, generator)
    return 1 - ((0.2 + 0.3 * value - nearest) * 6).clamp(0, 1)


def circuit_board(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw conductors along a grid and round pads."""
    y, x = turned(count, size, generator, 5)
    pitch = per_image(log_uniform(6, 14, (count,), generator))
    y, x = y / pitch, x / pitch
    seed = per_image(uniform(1, 2, (count,), generator))
    along_y = hashed((y / 4).floor(), (x + 0.5).floor(), seed) < 0.4
    along_x = hashed((y + 0.5).floor(), (x / 4).floor(), seed + 1) < 0.4
    off_y, off_x = y - y.round(), x - x.round()
    line = (along_y & (off_x.abs() < 0.18)) | (along_x & (off_y.abs() < 0.18))
    pad = (hashed(y.round(), x.round(), seed + 2) < 0.12) & (off_y**2 + off_x**2 < 0.16)
    return 0.2 + 0.5 * line.float() + 0.3 * pad.float()


def glass(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw soft reflections in bands."""
    y, _ = turned(count, size, generator)
    slow = gaussian_noise(uniform(2.2, 3, (count,), generator), size, generator)
    return 0.5 + 0.5 * (2 * math.pi * y / per_image(log_uniform(50, 200, (count,), generator)) + 0.5 * slow).sin()


def cork(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw pressed granules with dark specks."""
    nearest, second, value = voronoi(count, size, generator)
    granules = 0.5 * value + 0.5 * ((second - nearest) * 4).clamp(0, 1)
    return granules - 0.8 * (gaussian_noise(uniform(1, 1.4, (count,), generator), size, generator) > 1.8).float()


def ribbed_rubber(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw broad round ribs."""
    y, _ = turned(count, size, generator)
    return (math.pi * (y / per_image(log_uniform(5, 18, (count,), generator)) % 1)).sin()


def _speck(count: int, size: Size, generator: Generator, amount: float) -> Tensor:
    return amount * torch.randn(count, *size, generator=generator)


MATERIAL_RELIEFS: dict[str, Material] = {
    "woven fabric": woven_fabric,
    "twill": twill,
    "knitted wool": knitted_wool,
    "brushed metal": brushed_metal,
    "machined metal": machined_metal,
    "cast iron": cast_iron,
    "wood": wood,
    "leather": leather,
    "granite": granite,
    "marble": marble,
    "paper": paper,
    "plastic": plastic,
    "tiles": tiles,
    "brick": brick,
    "carpet": carpet,
    "concrete": concrete,
    "wire mesh": wire_mesh,
    "foam": foam,
    "circuit board": circuit_board,
    "glass": glass,
    "cork": cork,
    "ribbed rubber": ribbed_rubber,
}
"""Drawing function of each material word."""
