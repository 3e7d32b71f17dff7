"""The commands behind `models/emoji/run`."""

import argparse
from pathlib import Path

from .paths import WEIGHTS
from .sizes import GUIDANCE, SIZES, STEPS


def main() -> None:
    parser = argparse.ArgumentParser(prog="models/emoji/run", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch, filter and decode the pictures")
    vae_command = commands.add_parser("train-vae", help="train or resume the autoencoder")
    vae_command.add_argument("--minutes", type=float, required=True)
    vae_command.add_argument("--crop", type=int, choices=(64, 128), default=64)
    decoder_command = commands.add_parser("train-decoder", help="the autoencoder's decoder, on the denoiser's latents")
    decoder_command.add_argument("--minutes", type=float, required=True)
    commands.add_parser("tokenizer", help="learn the vocabulary")
    latents_command = commands.add_parser("latents", help="encode the training pictures with the autoencoder as it is")
    latents_command.add_argument("--side", type=int, help="of the pictures, in pixels, if not that of sizes.py")
    latents_command.add_argument("--one-in", type=int, default=1, help="fewer of the composed pictures")
    for name, what in (("train-words", "the text encoder alone"), ("train", "denoiser and text encoder")):
        denoiser_command = commands.add_parser(name, help=f"train or resume {what}")
        denoiser_command.add_argument("--minutes", type=float, required=True)
        denoiser_command.add_argument("--side", type=int, help="of the pictures, in pixels, if not that of sizes.py")
        denoiser_command.add_argument("--batch", type=int, help="if not that of sizes.py")
    denoiser_command.add_argument("--other-sides", type=int, nargs="*", default=[],
                                  help="of pictures that it is to draw well, too")  # fmt: skip
    denoiser_command.add_argument("--rate", type=float, default=1.0, help="times the usual learning rate")
    export_command = commands.add_parser("export", help="write the averaged weights, and their goldens beside them")
    export_command.add_argument("--to", type=Path, default=WEIGHTS, help="instead of weights/")
    commands.add_parser("goldens", help="write what diffusers draws with weights/, which tintype must draw too")
    commands.add_parser("references", help="write what `cargo xtask model eval` compares with, and asks for")
    curve_command = commands.add_parser("curve", help="draw the training's history")
    curve_command.add_argument("path", type=Path)
    evaluate_command = commands.add_parser("evaluate", help="nearest neighbours of what weights/ draws for labels")
    evaluate_command.add_argument("--count", type=int, default=300)
    evaluate_command.add_argument("--pictures", type=Path, help="judge those that `cargo xtask model eval` kept here")
    draw_command = commands.add_parser("sheet", help="draw a contact sheet, of the checkpoints or of weights/")
    draw_command.add_argument("path", type=Path)
    draw_command.add_argument("--shipped", action="store_true", help="draw with weights/, not the checkpoints")
    draw_command.add_argument("--guidance", type=float, default=GUIDANCE)
    draw_command.add_argument("--steps", type=int, default=STEPS)
    draw_command.add_argument("--prompts", nargs="+", help="instead of the usual ones")
    arguments = parser.parse_args()

    # Imported late: torch takes seconds to load.
    match arguments.command:
        case "fetch":
            from . import fetch

            fetch.fetch()
        case "train-vae":
            from . import vae

            vae.train(arguments.minutes, arguments.crop)
        case "train-decoder":
            from . import decoder

            decoder.train(arguments.minutes)
        case "tokenizer":
            from . import tokenizer

            tokenizer.train()
        case "latents":
            from . import export, latents, references

            # What is composed decides which combinations are new.
            references.write()
            latents.cache(export.averaged_vae(), arguments.side or SIZES.picture, arguments.one_in)
        case "train-words" | "train":
            from . import denoiser

            side, batch = arguments.side or SIZES.picture, arguments.batch or SIZES.batch
            if arguments.command == "train-words":
                denoiser.train_words(arguments.minutes, side, batch)
            else:
                denoiser.train(arguments.minutes, side, batch, arguments.other_sides, arguments.rate)
        case "export":
            from . import export

            export.export(arguments.to)
        case "goldens":
            from . import export, goldens

            goldens.write(export.shipped(), WEIGHTS.with_name("goldens"))
        case "references":
            from . import references

            references.write()
        case "curve":
            from . import curve

            curve.curve(arguments.path)
        case "evaluate":
            from . import evaluate

            evaluate.evaluate(arguments.count, arguments.pictures)
        case "sheet":
            from . import export, sheet

            pipe = export.shipped() if arguments.shipped else export.pipeline()
            pictures = sheet.draw(pipe, arguments.prompts or sheet.PROMPTS, steps=arguments.steps,
                                  guidance=arguments.guidance)  # fmt: skip
            sheet.sheet(pictures, arguments.path)


if __name__ == "__main__":
    main()
