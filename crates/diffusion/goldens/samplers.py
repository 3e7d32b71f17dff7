"""Makes the goldens of the samplers with a memory, with two evaluations per step, or with noise.

    python crates/diffusion/goldens/samplers.py

As schedules.py, but in float64 after the schedulers' own rounding, so that all differences are those of formulas. The model's
outputs are injected, and so is the noise: all cases share the same. Versions are pinned in models/emoji/requirements.txt.
"""

import json
from pathlib import Path

import torch
from diffusers import DDIMParallelScheduler, DDPMParallelScheduler, DEISMultistepScheduler, DPMSolverSinglestepScheduler
from diffusers import KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler, SASolverScheduler, TCDScheduler
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler
from diffusers import LCMScheduler, LMSDiscreteScheduler, UniPCMultistepScheduler
from diffusers.schedulers import scheduling_ddpm, scheduling_ddpm_parallel, scheduling_dpmsolver_multistep, scheduling_lcm
from safetensors.torch import save_file

from schedules import CLEAN, COSINE, FOLDER, KARRAS, LEADING, LINSPACE, LISTED, SD, TRAILING, VELOCITY, ZERO_SNR

STEPS = [1, 2, 4, 10, 25]
SHAPE = (1, 1, 1, 3)
EXPONENTIAL = dict(use_exponential_sigmas=True)
SDE = dict(algorithm_type="sde-dpmsolver++")
SIGMA_MIN = dict(final_sigmas_type="sigma_min")
NOISE = dict(predict_x0=False) | SIGMA_MIN

# To no noise, diffusers' bh1 gives NaN.
BH1 = dict(solver_type="bh1") | SIGMA_MIN

CASES = {
    "lcm": (LCMScheduler, {}),
    "lcm-dreamshaper": (LCMScheduler, SD | dict(clip_sample=False, set_alpha_to_one=True, steps_offset=1)),
    "lcm-velocity": (LCMScheduler, SD | VELOCITY | dict(original_inference_steps=100, timestep_scaling=3.0)),
    "lcm-clean": (LCMScheduler, COSINE | CLEAN | dict(clip_sample=True, original_inference_steps=30)),
    "lcm-zero-snr": (LCMScheduler, SD | VELOCITY | ZERO_SNR),
    "lcm-listed": (LCMScheduler, LISTED | dict(original_inference_steps=25)),
    "ddpm": (DDPMScheduler, {}),
    "ddpm-large": (DDPMScheduler, SD | LEADING | dict(variance_type="fixed_large", clip_sample=False)),
    "ddpm-velocity": (DDPMScheduler, SD | TRAILING | VELOCITY | dict(clip_sample=False)),
    "ddpm-clean": (DDPMScheduler, COSINE | LINSPACE | CLEAN | dict(clip_sample_range=1.5)),
    "ddpm-log": (DDPMScheduler, SD | LINSPACE | dict(variance_type="fixed_small_log", clip_sample=False)),
    "ddpm-zero-snr": (DDPMScheduler, SD | TRAILING | VELOCITY | ZERO_SNR | dict(clip_sample=False)),
    "ddim-parallel": (DDIMParallelScheduler, SD | LEADING),
    "ddpm-parallel": (DDPMParallelScheduler, SD | LEADING | dict(variance_type="fixed_large")),
    "unipc": (UniPCMultistepScheduler, {}),
    "unipc-bh1": (UniPCMultistepScheduler, SD | LEADING | BH1),
    "unipc-third": (UniPCMultistepScheduler, SD | TRAILING | dict(solver_order=3)),
    "unipc-third-bh1": (UniPCMultistepScheduler, SD | VELOCITY | dict(solver_order=3) | BH1),
    "unipc-first": (UniPCMultistepScheduler, SD | dict(solver_order=1) | BH1),
    "unipc-karras": (UniPCMultistepScheduler, COSINE | KARRAS | VELOCITY | SIGMA_MIN),
    "unipc-exponential": (UniPCMultistepScheduler, SD | EXPONENTIAL),
    "unipc-corrector": (UniPCMultistepScheduler, SD | dict(disable_corrector=[0, 3], solver_type="midpoint")),
    "unipc-to-the-end": (UniPCMultistepScheduler, SD | SIGMA_MIN | dict(lower_order_final=False, solver_order=3)),
    "unipc-noise": (UniPCMultistepScheduler, SD | NOISE),
    "unipc-noise-velocity": (UniPCMultistepScheduler, SD | NOISE | VELOCITY | dict(solver_order=3) | BH1),
    "unipc-noise-clean": (UniPCMultistepScheduler, SD | NOISE | CLEAN | dict(disable_corrector=[1])),
    "unipc-clean": (UniPCMultistepScheduler, SD | CLEAN),
    "unipc-zero-snr": (UniPCMultistepScheduler, SD | TRAILING | VELOCITY | ZERO_SNR),
    "heun": (HeunDiscreteScheduler, {}),
    "heun-leading": (HeunDiscreteScheduler, SD | LEADING),
    "heun-karras": (HeunDiscreteScheduler, SD | TRAILING | KARRAS | VELOCITY),
    "heun-exponential": (HeunDiscreteScheduler, SD | EXPONENTIAL),
    "heun-clip": (HeunDiscreteScheduler, COSINE | CLEAN | dict(clip_sample=True, clip_sample_range=0.8)),
    "lms": (LMSDiscreteScheduler, {}),
    "lms-leading": (LMSDiscreteScheduler, SD | LEADING | VELOCITY),
    "lms-karras": (LMSDiscreteScheduler, SD | KARRAS),
    "lms-exponential": (LMSDiscreteScheduler, SD | TRAILING | EXPONENTIAL | CLEAN),
    "lms-cosine": (LMSDiscreteScheduler, COSINE),
    "sde": (DPMSolverMultistepScheduler, SD | SDE),
    "sde-first": (DPMSolverMultistepScheduler, SD | SDE | LEADING | dict(solver_order=1)),
    "sde-karras": (DPMSolverMultistepScheduler, SD | SDE | KARRAS | VELOCITY | SIGMA_MIN),
    "sde-to-the-end": (DPMSolverMultistepScheduler, SD | SDE | CLEAN | SIGMA_MIN | dict(lower_order_final=False)),
    "sde-zero-snr": (DPMSolverMultistepScheduler, SD | SDE | TRAILING | VELOCITY | ZERO_SNR),
    "dpm-exponential": (DPMSolverMultistepScheduler, SD | EXPONENTIAL | dict(solver_type="bh2")),
    "euler-exponential": (EulerDiscreteScheduler, SD | EXPONENTIAL | dict(sigma_min=0.05, sigma_max=10.0)),
}

# The configurations that these save are read as those of other classes. DPMSolverSDEScheduler needs torchsde.
SAVED = [
    DDIMParallelScheduler,
    DDPMParallelScheduler,
    DEISMultistepScheduler,
    DPMSolverSinglestepScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    SASolverScheduler,
    TCDScheduler,
]


def way(scheduler, steps: int, outputs: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
    """The timesteps, the levels of noise, what model inputs are multiplied with, and every sample on the way."""
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = scheduler.sigmas.double()
    later = iter(noise)
    for module in (scheduling_ddpm, scheduling_ddpm_parallel, scheduling_dpmsolver_multistep, scheduling_lcm):
        module.randn_tensor = lambda *_, **__: next(later)
    sample = noise[-1] * scheduler.init_noise_sigma
    inputs, samples = [], [sample]
    for output, timestep in zip(outputs, scheduler.timesteps):
        inputs.append(scheduler.scale_model_input(torch.ones(1).double(), timestep))
        sample = scheduler.step(output, timestep, sample).prev_sample
        samples.append(sample)
    tensors = dict(timesteps=scheduler.timesteps, inputs=torch.cat(inputs), samples=torch.stack(samples).flatten())
    if hasattr(scheduler, "sigmas"):
        tensors["sigmas"] = scheduler.sigmas
    for name, tensor in tensors.items():
        assert tensor.isfinite().all(), name
    return tensors


def main() -> None:
    torch.manual_seed(2)
    # DPM-Solver++ casts samples to float32, which is not a part of its formula.
    to = torch.Tensor.to
    torch.Tensor.to = lambda tensor, *args, **options: tensor if args == (torch.float32,) else to(tensor, *args, **options)
    evaluations = 2 * max(STEPS) - 1
    outputs, noise = torch.randn(evaluations, *SHAPE), torch.randn(evaluations + 1, *SHAPE)
    tensors, configs = {"outputs": outputs, "noise": noise}, {}
    for name, (kind, options) in CASES.items():
        configs[name] = {"_class_name": kind.__name__} | options
        ways = [way(kind(**options), steps, outputs.double(), noise.double()) for steps in STEPS]
        # One tensor for all numbers of steps, because names need more room than numbers.
        for key in ways[0]:
            tensors[f"{name}.{key}"] = torch.cat([numbers[key].flatten() for numbers in ways]).float()
    save_file(tensors, FOLDER / "samplers.safetensors")
    (FOLDER / "samplers.json").write_text(json.dumps(configs) + "\n")
    saved = [json.loads(kind(**SD).to_json_string().replace("-Infinity", "-1e300")) for kind in SAVED]
    (FOLDER / "saved.json").write_text(json.dumps(saved) + "\n")


if __name__ == "__main__":
    main()
