"""Image files become uint8 tensors, within a limit that is checked before anything is decoded."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from classwise.data.images import FORMATS, decode

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0]


def file(image: Image.Image, form: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_colour_comes_with_channels_first(form: str):
    got = decode(file(Image.fromarray(COLOUR), form), "x")
    assert got.dtype == torch.uint8
    assert got.is_contiguous()
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), COLOUR)


def test_grey_fills_three_channels_or_stays_one():
    content = file(Image.fromarray(GREY))
    np.testing.assert_array_equal(decode(content, "x", channels=1).numpy(), GREY[None])
    np.testing.assert_array_equal(decode(content, "x").numpy(), np.stack([GREY] * 3))


def test_colour_becomes_grey_by_the_usual_weights():
    got = decode(file(Image.fromarray(COLOUR)), "x", channels=1)[0].numpy().astype(float)
    want = COLOUR @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_a_lossy_file_of_one_colour_keeps_it(form: str):
    got = decode(file(Image.new("RGB", (9, 6), (200, 60, 20)), form, quality=95), "x")
    assert got.shape == (3, 6, 9)
    assert (got.float().mean((1, 2)) - torch.tensor([200.0, 60, 20])).abs().max() < 6


def test_a_grey_jpeg_has_three_equal_channels():
    got = decode(file(Image.fromarray(GREY), "JPEG"), "x")
    assert got.shape == (3, 5, 7)
    assert torch.equal(got[0], got[1])
    assert torch.equal(got[0], got[2])


@pytest.mark.parametrize("transparency", [None, 0, b"\x00\x80\xff\xff"])
def test_a_palette_is_looked_up_and_transparency_dropped(transparency):
    image = Image.new("P", (2, 2))
    image.putdata([0, 1, 2, 3])
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    options = {} if transparency is None else {"transparency": transparency}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = decode(file(image, **options), "x")
    assert got.permute(1, 2, 0).reshape(4, 3).tolist() == [
        [10, 20, 30],
        [40, 50, 60],
        [70, 80, 90],
        [100, 110, 120],
    ]


@pytest.mark.parametrize("mode", ["1", "LA", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_modes_of_eight_bits_are_turned(mode: str, channels):
    form = "TIFF" if mode == "CMYK" else "PNG"
    got = decode(file(Image.new("RGB", (4, 3), "white").convert(mode), form), "x", channels=channels)
    assert got.shape == (channels, 3, 4)
    assert bool((got == 255).all())


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_eight_bits_are_refused(mode: str):
    array = (GREY.astype(np.uint16) * 257) if mode == "I;16" else GREY.astype({"I": np.int32, "F": np.float32}[mode])
    with pytest.raises(ValueError, match=r"'x' has more than 8 bits per channel \(mode .*\): save it with 8 bits"):
        decode(file(Image.fromarray(array), "TIFF"), "x")


def test_an_orientation_is_left_alone():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    got = decode(file(Image.fromarray(COLOUR), exif=exif), "x")
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), COLOUR)


def test_an_animation_gives_its_first_image():
    first, second = (Image.new("L", (4, 4), value) for value in (10, 200))
    got = decode(file(first, "GIF", save_all=True, append_images=[second]), "x", channels=1)
    assert got.unique().tolist() == [10]


def test_a_part_is_cut_out_then_resized():
    content = file(Image.fromarray(COLOUR))
    got = decode(content, "x", box=(1, 2, 6, 4))
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), COLOUR[2:4, 1:6])
    assert decode(content, "x", size=(2, 11), box=(1, 2, 6, 4)).shape == (3, 2, 11)
    assert torch.equal(decode(content, "x", size=(2, 5), box=(1, 2, 6, 4)), got)
    assert decode(content, "x", size=4).shape == (3, 4, 4)


def test_resizing_has_antialiasing():
    lines = np.tile(np.array([0, 255], np.uint8), (64, 32))
    got = decode(file(Image.fromarray(lines)), "x", size=8, channels=1)
    assert 126 <= int(got[:, 2:-2, 2:-2].min()) <= int(got[:, 2:-2, 2:-2].max()) <= 129


@pytest.mark.parametrize("box", [(0, 0, 8, 5), (-1, 0, 5, 5), (3, 0, 3, 5), (0, 4, 7, 2), (0, 0, 7, 6)])
def test_a_part_outside_is_refused(box):
    with pytest.raises(ValueError, match=r"does not lie in 'x' of 7 x 5 pixels"):
        decode(file(Image.fromarray(COLOUR)), "x", box=box)


def png_head(width: int, height: int) -> bytes:
    """The head of a PNG of some size, and no pixels at all."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded():
    with pytest.raises(ValueError, match=r"'x' has 10000 x 9000 pixels, more than 64,000,000: scale it down"):
        decode(png_head(10_000, 9_000), "x")
    with pytest.raises(ValueError, match=r"'x' is no image that can be read|more than 64,000,000"):
        decode(png_head(60_000, 60_000), "x")
    with pytest.raises(ValueError, match=r"'x' has 7 x 5 pixels, more than 34"):
        decode(file(Image.fromarray(COLOUR)), "x", most_pixels=34)
    assert decode(file(Image.fromarray(COLOUR)), "x", most_pixels=35).shape == (3, 5, 7)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "PPM", "BMP", "WEBP"])
def test_every_truncation_is_refused(form: str):
    whole = file(Image.fromarray(np.repeat(np.repeat(COLOUR, 4, 0), 4, 1)), form)
    end = {"PNG": whole.rfind(b"IEND") - 14, "JPEG": len(whole) - 2}.get(form, len(whole))  # before its last pixel
    for length in {*range(0, end, max(1, end // 60)), end // 2}:
        with pytest.raises(ValueError, match="'x' is no image that can be read") as caught:
            decode(whole[:length], "x")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"BM"]
)
def test_what_is_no_image_is_refused(content: bytes):
    with pytest.raises(ValueError, match=r"'x' is no image that can be read \(.*\): replace it, or leave it out"):
        decode(content, "x")


def test_decoders_that_start_programs_stay_out():
    assert not {"EPS", "WMF", "PDF", "PSD", "FITS"} & set(FORMATS)
    with pytest.raises(ValueError, match="no image that can be read"):
        decode(file(Image.fromarray(COLOUR), "EPS"), "x")


def test_pillow_is_not_told_to_accept_truncated_files():
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_file_spoilt_anywhere_gives_an_image_or_an_error_of_ours(form: str):
    whole = file(Image.fromarray(np.repeat(np.repeat(COLOUR, 4, 0), 4, 1)), form)
    rng = random.Random(0)
    for _ in range(150):
        spoilt = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            spoilt[rng.randrange(min(len(spoilt), rng.choice([40, len(spoilt)])))] = rng.randrange(256)
        try:
            got = decode(bytes(spoilt), "x", most_pixels=10**6)
        except ValueError as error:
            assert "'x'" in str(error)  # noqa: PT017 - either is right
        else:
            assert got.dtype == torch.uint8
            assert got.shape[0] == 3


def deep_png() -> bytes:
    """16 bits per channel, RGB, 2 x 1 pixels, written by hand after the PNG specification."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + bytes(range(12)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deep_tiff() -> bytes:
    """16 bits per channel, RGB, 2 x 1 pixels, written by hand after TIFF 6.0."""
    short = [(256, 2), (257, 1), (258, 0), (259, 1), (262, 2), (273, 0), (277, 3), (278, 1), (279, 12)]
    end = 8 + 2 + 12 * len(short) + 4
    value = dict(short) | {258: end, 273: end + 6}  # where three numbers of bits and the pixels lie
    entries = b"".join(struct.pack("<HHII", tag, 3, 3 if tag == 258 else 1, value[tag]) for tag, _ in short)
    head = b"II*\0" + struct.pack("<IH", 8, len(short)) + entries + bytes(4)
    return head + struct.pack("<HHH", 16, 16, 16) + bytes(range(12))


@pytest.mark.parametrize(
    "content",
    [
        deep_png(),
        deep_tiff(),
        b"P6 2 1 65535\n" + bytes(range(12)),
        b"P6\n# 7 8 9\n2 # wide\n1\n1023\n" + bytes(12),
        b"P3\n2 1\n1000\n0 1 2 3 4 1000\n",
    ],
)
def test_colour_of_more_than_8_bits_is_refused(content: bytes):
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.mode == "RGB"  # so Pillow does not tell
    with pytest.raises(ValueError, match=r"'x' has more than 8 bits per channel \(mode RGB\): save it with 8 bits"):
        decode(content, "x")


def test_a_ppm_of_8_bits_may_have_comments():
    got = decode(b"P6\n# 65535\n2 1\n255\n" + bytes(range(6)), "x")
    assert got[:, 0].T.tolist() == [[0, 1, 2], [3, 4, 5]]
