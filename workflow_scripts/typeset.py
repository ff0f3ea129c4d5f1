"""Makes a PDF of a document in Typst."""

from pathlib import Path

import typst

from muonlab.io.atomic import replacing
from muonlab.io.logs import logged

with logged(snakemake.log[0]):
    source = Path(snakemake.input.document)
    with replacing(snakemake.output.pdf) as temporary:
        # Only the compiler's own fonts, and no date, so that the same document gives the same
        # bytes.
        typst.compile(
            source, output=str(temporary), root=source.parent, ignore_system_fonts=True,
            format="pdf", timestamp=0,
        )  # fmt: skip
