"""Adversarial examples as pictures."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from classwise.report.images import example_images


def pixels(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize(("channels", "mode_axes"), [(1, 2), (3, 3)])
def test_pixels_are_enlarged_to_squares(make_audit, channels, mode_axes):
    examples = make_audit(channels=channels).examples
    shown = pixels(example_images(examples, ())[1].original)
    assert shown.ndim == mode_axes
    assert shown.shape[:2] == (96, 96)
    original = np.rint(255 * examples.originals[1]).transpose(1, 2, 0)
    np.testing.assert_array_equal(shown.reshape(96, 96, channels)[5::12, 5::12], original)
    assert np.ptp(shown.reshape(8, 12, 8, 12, channels), axis=(1, 3)).max() == 0


def test_change_is_magnified_around_grey(make_audit):
    examples = make_audit().examples
    image = example_images(examples, ())[0]
    assert image.magnification == 15  # 8/255 may grow 15-fold within half the range
    change = examples.perturbed[0, 0] - examples.originals[0, 0]
    np.testing.assert_allclose(pixels(image.difference)[::12, ::12] / 255, 0.5 + 15 * change, atol=0.5 / 255 + 1e-6)


def test_no_change_is_grey(make_audit):
    examples = make_audit().examples
    image = example_images(replace(examples, perturbed=examples.originals), ())[0]
    assert set(np.unique(pixels(image.difference))) == {128}


def test_captions_name_the_classes(make_audit):
    examples = make_audit(names=("cat", "dog")).examples
    assert example_images(examples, ("cat", "dog"))[0].caption == "cat → dog"
    assert example_images(examples, ())[0].caption == "class 0 → class 1"


def test_at_most_eight(make_audit):
    assert len(example_images(make_audit(pictures=12).examples, ())) == 8


def test_large_images_keep_their_size(make_audit):
    assert pixels(example_images(make_audit(side=100, pictures=1).examples, ())[0].perturbed).shape == (100, 100)


def test_samples_that_are_no_images_have_no_pictures(make_audit):
    examples = make_audit().examples
    assert example_images(replace(examples, originals=examples.originals[:, 0, 0]), ()) == []
    assert example_images(make_audit(pictures=0).examples, ()) == []


def test_other_channel_counts_are_grey(make_audit):
    assert pixels(example_images(make_audit(channels=4).examples, ())[0].original).shape == (96, 96)
