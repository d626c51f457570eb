"""The strong view of uint8 images: RandAugment, then cutout, drawn for each image, in whole-batch tensor code on the images' device.

RandAugment (Cubuk, Zoph, Shlens and Le, 2020) applies N operations to an image, each drawn uniformly from 14, all at magnitude M of 30.
N = 2, M = 14 is its setting for WRN-28-10 on CIFAR-100; for WRN-28-10 on CIFAR-10 it is N = 3, M = 5. Ranges, signs and arithmetic
follow torchvision's RandAugment, which draws once for a whole batch. Cutout (DeVries and Taylor, 2017) follows.

Each round applies one operation to an image. Therefore a round has three stages, and each stage skips images whose operation belongs to
another one: geometric operations are one gather at moved coordinates, operations on single pixels are one look-up, and the rest are blends.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "solarize", "color", "posterize", "contrast", "brightness", "sharpness",
    "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
ROUNDS = 2  # N
MAGNITUDE = 14 / 30  # M as a share of the largest

Fill = int | torch.Tensor  # a pixel: one level, or one for each channel, uint8 (channels, 1, 1)
Chosen = dict[str, torch.Tensor]  # for each operation, (n, 1, 1): the sign of its magnitude, -1 or 1, if it applies to the image; else 0


def strong_view(images: torch.Tensor, fill: Fill, generator: torch.Generator) -> torch.Tensor:
    """Apply ROUNDS operations and cutout to each of `images`, uint8 (n, channels, height, width), with separate draws.

    fill: the pixel value outside the image and in the cutout
    """
    shape, device = (ROUNDS, len(images)), images.device
    operations = torch.randint(0, len(OPERATIONS), shape, device=device, generator=generator)
    signs = 2 * torch.randint(0, 2, shape, device=device, generator=generator) - 1
    for operation, sign in zip(operations, signs, strict=True):
        images = operate(images, operation, sign, MAGNITUDE, fill)
    return cutout(images, fill, generator)


def operate(images: torch.Tensor, operation: torch.Tensor, sign: torch.Tensor, magnitude: float, fill: Fill) -> torch.Tensor:
    """Apply one operation to each of `images`, uint8 (n, channels, height, width).

    operation: positions in OPERATIONS, int64 (n,); sign: -1 or 1, (n,), for operations that have two directions
    magnitude: in [0, 1], a share of the largest; fill: the pixel value outside the image
    """
    signs = (operation == torch.arange(len(OPERATIONS), device=operation.device)[:, None]) * sign
    chosen = dict(zip(OPERATIONS, signs[..., None, None], strict=True))
    images = _move(images, chosen, magnitude, fill)
    images = _look_up(images, chosen, magnitude)
    return _enhance(images, chosen, magnitude)


def cutout(images: torch.Tensor, fill: Fill, generator: torch.Generator) -> torch.Tensor:
    """Return `images` with a square of `fill` in each, with half the shorter side, around a uniform pixel; edges clip it."""
    n, _, height, width = images.shape
    reach = min(height, width) // 4

    def covered(side: int) -> torch.Tensor:
        centre = torch.randint(0, side, (n, 1), device=images.device, generator=generator)
        offset = torch.arange(side, device=images.device) - centre
        return (offset >= -reach) & (offset < reach)

    return torch.where(covered(height)[:, None, :, None] & covered(width)[:, None, None, :], fill, images)


def _move(images: torch.Tensor, chosen: Chosen, magnitude: float, fill: Fill) -> torch.Tensor:
    """Apply rotations, shears and translations: each pixel takes the nearest source pixel."""
    channels, height, width = images.shape[1:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2  # from the centre of the image
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    angle = math.radians(30 * magnitude) * chosen["rotate"]
    shear_x, shear_y = 0.3 * magnitude * chosen["shear_x"], 0.3 * magnitude * chosen["shear_y"]
    right, down = (int(150 / 331 * side * magnitude) * chosen[name] for side, name in ((width, "translate_x"), (height, "translate_y")))
    from_x = (angle.cos() * x - right) + (shear_x * (y + height / 2) - angle.sin() * y)
    from_y = (angle.cos() * y - down) + (shear_y * (x + width / 2) + angle.sin() * x)
    # Everything outside comes from a frame of `fill`, one pixel wide.
    column = (from_x + (width + 1) / 2).round().clamp(0, width + 1).long()
    row = (from_y + (height + 1) / 2).round().clamp(0, height + 1).long()
    pixel = (row * (width + 2) + column).flatten(1)[:, None].expand(-1, channels, -1)
    framed = F.pad(images - fill, (1, 1, 1, 1)) + fill  # modulo 256, so levels do not change
    return framed.flatten(2).gather(2, pixel).view_as(images)


def _look_up(images: torch.Tensor, chosen: Chosen, magnitude: float) -> torch.Tensor:
    """Apply operations that map levels to levels: one table of 256 per channel. Levels are whole numbers in float32, which is exact."""
    pixels = images.flatten(2)
    levels = torch.arange(256.0, device=images.device)
    step = 2 ** round(4 * magnitude)
    table = torch.where((chosen["solarize"] != 0) & (levels >= round(255 * (1 - magnitude))), 255 - levels, levels)
    table = torch.where(chosen["posterize"] != 0, levels // step * step, table)
    table = torch.where(chosen["autocontrast"] != 0, _stretched(pixels, levels), table)
    table = torch.where(chosen["equalize"] != 0, _equalised(pixels, levels), table)
    return table.to(torch.uint8).gather(2, pixels.long()).view_as(images)


def _stretched(pixels: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Return autocontrast's table, (n, channels, 256): the darkest level of a channel becomes 0 and the brightest 255."""
    low, high = pixels.amin(2, keepdim=True).float(), pixels.amax(2, keepdim=True).float()
    stretched = (levels - low) / ((high - low).clamp(min=1) * (1 / 255))
    return torch.where(high > low, stretched.clamp(0, 255), levels)


def _equalised(pixels: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Return equalisation's table, (n, channels, 256), by Pillow's rule: none if fewer than 255 pixels are below the brightest level."""
    counts = torch.zeros((*pixels.shape[:2], 256), device=pixels.device)
    counts.scatter_add_(2, pixels.long(), counts.new_ones(()).expand(pixels.shape))
    brightest = counts.gather(2, pixels.amax(2, keepdim=True).long())
    step = (pixels.shape[2] - brightest) // 255
    darker = counts.cumsum(2) - counts
    return torch.where(step > 0, ((darker + step // 2) / step.clamp(min=1)).clamp(max=255), levels)


def _enhance(images: torch.Tensor, chosen: Chosen, magnitude: float) -> torch.Tensor:
    """Blend with a degenerate image, or away from it if the sign is positive.

    The degenerate image is black (brightness), the mean grey (contrast), the grey image (color) or the blurred image (sharpness).
    """
    degree = chosen["brightness"] + chosen["contrast"] + chosen["color"] + chosen["sharpness"]
    is_contrast, is_color, is_sharpness = ((chosen[name] != 0)[..., None] for name in ("contrast", "color", "sharpness"))
    original = images.float()
    grey = _grey(original)
    flat = torch.where(is_contrast, grey.mean((1, 2, 3), keepdim=True), 0.0)
    degenerate = torch.where(is_sharpness, _blurred(original), torch.where(is_color, grey, flat))
    blend = torch.lerp(degenerate, original, 1 + 0.9 * magnitude * degree[..., None])
    return blend.clamp(0, 255).to(torch.uint8)


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Return luminance in whole levels, (n, 1, height, width); images with one channel do not change."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.split(1, 1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor()


def _blurred(images: torch.Tensor) -> torch.Tensor:
    """Return the mean of each pixel, counted five times, and its eight neighbours, in whole levels; edge pixels do not change.

    It is not a convolution, because a convolution may compute in TF32.
    """
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    blurred = images.clone()
    blurred[:, :, 1:-1, 1:-1] = ((squares + 4 * images[:, :, 1:-1, 1:-1]) / 13).round()
    return blurred
