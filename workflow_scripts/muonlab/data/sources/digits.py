"""scikit-learn's bundled digits."""

from typing import Literal

from pydantic import Field, model_validator

from muonlab.data.sections import Images, Place
from muonlab.section import Seed

DIGITS = 1797  # images that scikit-learn bundles


class Digits(Images):
    """scikit-learn's bundled 8 × 8 digits; needs no file and no network."""

    source: Literal["digits"]
    validation: int = Field(default=300, ge=1)
    """Images held out of the training images, for choosing learning rates."""
    test: int = Field(default=360, ge=1)
    """Images held out first, for the final report."""
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
        """1,797 images of 8 × 8 pixels in 0..16, ten classes.

        They have no official test split: one of `test` images is drawn by `split_seed`, then the
        validation images out of the rest.
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
