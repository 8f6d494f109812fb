"""Runs the benchmarks and writes one result file each: ``python benchmarks/run.py [NAME ...] [--out FOLDER]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import border
import feeding
import image_loading
import latent
import loop
import mae
import masking
import stored_tokens
import texts
from protocol import Comparison

import transport

BENCHMARKS: Mapping[str, Callable[[], Comparison | feeding.Feeding]] = {
    "mae_decoder_512x8": lambda: mae.run(512, 8, 16),
    "mae_decoder_256x4": lambda: mae.run(256, 4, 8),
    "latent_conv": lambda: latent.run("conv"),
    "latent_transformer": lambda: latent.run("transformer"),
    "text_step": texts.run,
    "text_masking": masking.text,
    "text_masking_512": lambda: masking.text(512, repeat=1),
    "image_masking": masking.images,
    "text_rts": texts.originality,
    "border_text": lambda: border.run("text"),
    "border_image": lambda: border.run("image/digits"),
    "loop_2ms": lambda: loop.run(rows=64, width=384, steps=300),
    "loop_50ms": lambda: loop.run(rows=384, width=1024, steps=60),
    **image_loading.tables(),
    **feeding.tables(),
    **transport.tables(),
    **stored_tokens.tables(),
}


def main() -> None:
    """Runs what the command line names, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the result files")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    for name in arguments.names or BENCHMARKS:
        comparison = BENCHMARKS[name]()
        print(comparison, flush=True)
        print(f"  written to {comparison.write(arguments.out, name)}\n", flush=True)


if __name__ == "__main__":
    main()
