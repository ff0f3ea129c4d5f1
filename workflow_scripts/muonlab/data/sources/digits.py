"""scikit-learn's bundled digits."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from muonlab.data.sections import Images, Place
from muonlab.section import Seed

DIGITS = 1797  # number of images that scikit-learn bundles


class Digits(Images):
    """scikit-learn's bundled 8 × 8 digits. They need no file and no network."""

    training_images: ClassVar[int] = DIGITS
    pixels: ClassVar[int] = 64

    source: Literal["digits"]
    validation: int = Field(default=300, ge=1)
    """Number of images held out for choosing settings."""
    test: int = Field(default=360, ge=1)
    """Number of images held out for the final evaluation."""
    split_seed: Seed = 0
    """Seed of both splits."""

    @model_validator(mode="after")
    def _consistent(self) -> "Digits":
        if self.validation + self.test >= DIGITS:
            raise ValueError(
                f"validation ({self.validation}) and test ({self.test}) must leave some of the "
                f"{DIGITS} digits for training"
            )
        return self

    def read(self, place: Place) -> tuple[dict, int]:
        """Reads the 1,797 images of 8 × 8 pixels, with values from 0 to 16, in ten classes.

        There is no official test split, so `split_seed` draws `test` images for it, and then the
        validation images from the rest.
        """
        import numpy as np
        from sklearn.datasets import load_digits

        from muonlab.data.labelled import Labelled
        from muonlab.data.vision import hold_out
        from muonlab.streams import numpy_generator

        bundled = load_digits()
        everything = Labelled(bundled.data.astype(np.uint8), bundled.target.astype(np.uint8))
        order = numpy_generator(self.split_seed, "test split").permutation(len(everything.labels))
        rest, test = order[self.test :], order[: self.test]
        train, validation = hold_out(
            everything.take(rest), self.validation, self.split_seed, place("validation")
        )
        return {"train": train, "validation": validation, "test": everything.take(test)}, 16
