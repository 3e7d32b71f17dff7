"""The commands behind `models/emoji/run`."""

import argparse
from pathlib import Path

from .hyperparameters import GUIDANCE, HPARAMS, STEPS
from .paths import WEIGHTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="models/emoji/run", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch, filter and decode the emoji images")
    vae_command = commands.add_parser("train-vae", help="train or resume the autoencoder")
    vae_command.add_argument("--minutes", type=float, required=True)
    vae_command.add_argument(
        "--crop", type=int, choices=(64, 128), default=64, help="side of the crops, in pixels"
    )
    decoder_command = commands.add_parser(
        "train-decoder", help="train the autoencoder's decoder on latents that the denoiser has restored"
    )
    decoder_command.add_argument("--minutes", type=float, required=True)
    commands.add_parser("tokenizer", help="train the tokenizer's vocabulary")
    latents_command = commands.add_parser(
        "latents", help="encode the training images with the current autoencoder"
    )
    latents_command.add_argument(
        "--side", type=int, help=f"side of the images, in pixels [{HPARAMS.image_side}]"
    )
    latents_command.add_argument(
        "--one-in", type=int, default=1, metavar="N",
        help="encode one in N of the composed images, and all plain ones",
    )  # fmt: skip
    for name, networks in (("train-words", "the text encoder alone"), ("train", "denoiser and text encoder")):
        denoiser_command = commands.add_parser(name, help=f"train or resume {networks}")
        denoiser_command.add_argument("--minutes", type=float, required=True)
        denoiser_command.add_argument(
            "--side", type=int, help=f"side of the images, in pixels [{HPARAMS.image_side}]"
        )
        denoiser_command.add_argument("--batch", type=int, help=f"batch size [{HPARAMS.batch}]")
    denoiser_command.add_argument(
        "--other-sides", type=int, nargs="*", default=[],
        help="further sides, in pixels: one step in eight uses one of them",
    )  # fmt: skip
    denoiser_command.add_argument("--rate", type=float, default=1.0, help="factor of the learning rate")
    export_command = commands.add_parser("export", help="write the averaged weights and their golden files")
    export_command.add_argument("--to", type=Path, default=WEIGHTS, help="folder [weights/]")
    commands.add_parser("goldens", help="write golden images: diffusers' images for weights/")
    commands.add_parser(
        "references", help="write the reference images and prompts of `cargo xtask model eval`"
    )
    curve_command = commands.add_parser("curve", help="plot the training history")
    curve_command.add_argument("path", type=Path)
    evaluate_command = commands.add_parser("evaluate", help="measure how often a label's image is recognised")
    evaluate_command.add_argument("--count", type=int, default=300, help="labels per language")
    evaluate_command.add_argument(
        "--pictures", type=Path, help="folder of `cargo xtask model eval --pictures`"
    )
    draw_command = commands.add_parser(
        "sheet", help="draw a contact sheet with the checkpoints or with weights/"
    )
    draw_command.add_argument("path", type=Path)
    draw_command.add_argument(
        "--shipped", action="store_true", help="use weights/ instead of the checkpoints"
    )
    draw_command.add_argument("--guidance", type=float, default=GUIDANCE)
    draw_command.add_argument("--steps", type=int, default=STEPS)
    draw_command.add_argument("--prompts", nargs="+", help="prompts, instead of the default ones")
    arguments = parser.parse_args()

    # Imported here, because torch takes seconds to load.
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

            # The list of composed images decides which combinations are new to the model.
            references.write()
            latents.write_cache(export.averaged_vae(), arguments.side or HPARAMS.image_side, arguments.one_in)
        case "train-words" | "train":
            from . import denoiser

            side, batch = arguments.side or HPARAMS.image_side, arguments.batch or HPARAMS.batch
            if arguments.command == "train-words":
                denoiser.train_text_encoder(arguments.minutes, side, batch)
            else:
                denoiser.train(arguments.minutes, side, batch, arguments.other_sides, arguments.rate)
        case "export":
            from . import export

            export.export(arguments.to)
        case "goldens":
            from . import export, goldens

            goldens.write(export.load_shipped(), WEIGHTS.with_name("goldens"))
        case "references":
            from . import references

            references.write()
        case "curve":
            from . import curve

            curve.draw_curves(arguments.path)
        case "evaluate":
            from . import evaluate

            evaluate.evaluate(arguments.count, arguments.pictures)
        case "sheet":
            from . import export, sheet

            pipe = export.load_shipped() if arguments.shipped else export.pipeline()
            pictures = sheet.draw(pipe, arguments.prompts or sheet.PROMPTS, steps=arguments.steps,
                                  guidance=arguments.guidance)  # fmt: skip
            sheet.write_sheet(pictures, arguments.path)


if __name__ == "__main__":
    main()
