"""Makes the goldens of schedules: timesteps, levels of noise, and whole ways from noise to a sample.

    python crates/diffusion/goldens/schedules.py

The model's outputs are injected, and so is the noise of the ancestral scheduler: all cases share the same. Versions are
pinned in models/emoji/requirements.txt.
"""

import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler
from diffusers import EulerDiscreteScheduler, PNDMScheduler
from diffusers.schedulers import scheduling_euler_ancestral_discrete
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "tests/fixtures/schedules"
STEPS = [1, 4, 20, 50]
SHAPE = (1, 2, 2, 3)

SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
LEADING = dict(timestep_spacing="leading", steps_offset=1)
TRAILING = dict(timestep_spacing="trailing")
LINSPACE = dict(timestep_spacing="linspace")
VELOCITY = dict(prediction_type="v_prediction")
CLEAN = dict(prediction_type="sample")
ZERO_SNR = dict(rescale_betas_zero_snr=True)
COSINE = dict(beta_schedule="squaredcos_cap_v2")
KARRAS = dict(use_karras_sigmas=True)
LISTED = dict(num_train_timesteps=120, trained_betas=[0.001 + 0.0002 * i for i in range(120)])

CASES = {
    "ddim": (DDIMScheduler, {}),
    "ddim-sd21": (DDIMScheduler, SD | LEADING | VELOCITY | dict(clip_sample=False, set_alpha_to_one=False)),
    "ddim-zero-snr": (DDIMScheduler, SD | TRAILING | VELOCITY | ZERO_SNR | dict(clip_sample=False)),
    "ddim-clean": (DDIMScheduler, SD | LINSPACE | CLEAN | dict(clip_sample_range=1.5)),
    "ddim-cosine": (DDIMScheduler, COSINE | TRAILING),
    "ddim-short": (DDIMScheduler, SD | LEADING | dict(num_train_timesteps=60, clip_sample=False)),
    "euler": (EulerDiscreteScheduler, {}),
    "euler-turbo": (EulerDiscreteScheduler, SD | TRAILING | dict(steps_offset=1)),
    "euler-leading": (EulerDiscreteScheduler, SD | LEADING),
    "euler-velocity": (EulerDiscreteScheduler, SD | LINSPACE | VELOCITY | dict(final_sigmas_type="sigma_min")),
    "euler-karras": (EulerDiscreteScheduler, SD | KARRAS),
    "euler-karras-range": (EulerDiscreteScheduler, SD | LEADING | VELOCITY | KARRAS | dict(sigma_min=0.1, sigma_max=9.5)),
    "euler-zero-snr": (EulerDiscreteScheduler, SD | TRAILING | VELOCITY | ZERO_SNR),
    "euler-clean": (EulerDiscreteScheduler, SD | CLEAN),
    "euler-listed": (EulerDiscreteScheduler, LISTED),
    "ancestral": (EulerAncestralDiscreteScheduler, {}),
    "ancestral-leading": (EulerAncestralDiscreteScheduler, SD | LEADING),
    "ancestral-trailing": (EulerAncestralDiscreteScheduler, SD | TRAILING | VELOCITY),
    "ancestral-zero-snr": (EulerAncestralDiscreteScheduler, SD | TRAILING | VELOCITY | ZERO_SNR),
    "dpm": (DPMSolverMultistepScheduler, SD),
    "dpm-leading": (DPMSolverMultistepScheduler, SD | LEADING),
    "dpm-trailing": (DPMSolverMultistepScheduler, SD | TRAILING | VELOCITY),
    "dpm-karras": (DPMSolverMultistepScheduler, SD | KARRAS),
    "dpm-karras-cosine": (DPMSolverMultistepScheduler, COSINE | KARRAS | VELOCITY),
    "dpm-cosine": (DPMSolverMultistepScheduler, COSINE | dict(lambda_min_clipped=-5.1)),
    "dpm-first-order": (DPMSolverMultistepScheduler, SD | dict(solver_order=1)),
    "dpm-euler-at-final": (DPMSolverMultistepScheduler, SD | dict(euler_at_final=True, final_sigmas_type="sigma_min")),
    "dpm-second-to-the-end": (
        DPMSolverMultistepScheduler,
        SD | dict(lower_order_final=False, final_sigmas_type="sigma_min"),
    ),
    "dpm-lower-order-final": (DPMSolverMultistepScheduler, SD | dict(final_sigmas_type="sigma_min")),
    "dpm-zero-snr": (DPMSolverMultistepScheduler, SD | TRAILING | VELOCITY | ZERO_SNR),
    "dpm-clean": (DPMSolverMultistepScheduler, SD | CLEAN),
    # What SD 1.5 and 2.1-base publish, and what diffusers makes of it for the solver.
    "pndm": (PNDMScheduler, SD | dict(steps_offset=1, skip_prk_steps=True, set_alpha_to_one=False)),
    "pndm-leading": (PNDMScheduler, SD | LEADING | VELOCITY | dict(skip_prk_steps=True)),
}


def way(scheduler, steps: int, outputs: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
    """The timesteps, the levels of noise, what model inputs are multiplied with, and every sample on the way."""
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        # Or a first timestep that occurs twice, as Karras' levels can have it, would be skipped.
        scheduler.set_begin_index(0)
    later = iter(noise)
    scheduling_euler_ancestral_discrete.randn_tensor = lambda *_, **__: next(later)
    sample = noise[-1] * scheduler.init_noise_sigma
    inputs, samples = [], [sample]
    for output, timestep in zip(outputs, scheduler.timesteps):
        inputs.append(scheduler.scale_model_input(torch.ones(1), timestep))
        sample = scheduler.step(output, timestep, sample).prev_sample
        samples.append(sample)
    tensors = dict(timesteps=scheduler.timesteps.double(), inputs=torch.cat(inputs), samples=torch.stack(samples))
    if hasattr(scheduler, "sigmas"):
        tensors["sigmas"] = scheduler.sigmas
    for name, tensor in tensors.items():
        assert tensor.isfinite().all(), name
    return {f"{steps}.{name}": tensor.contiguous() for name, tensor in tensors.items()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    outputs, noise = torch.randn(max(STEPS), *SHAPE), torch.randn(max(STEPS) + 1, *SHAPE)
    tensors = {"outputs": outputs, "noise": noise}
    configs = {}
    for name, (kind, options) in CASES.items():
        scheduler = kind(**options)
        configs[name] = json.loads(scheduler.to_json_string().replace("-Infinity", "-1e300"))
        if kind is PNDMScheduler:
            # What the published files do not set is the solver's to choose.
            configs[name] = {"_class_name": kind.__name__} | options
            scheduler = DPMSolverMultistepScheduler.from_config(scheduler.config)
        tensors[f"{name}.alphas"] = scheduler.alphas_cumprod[::7].clone()
        for steps in STEPS:
            tensors |= {f"{name}.{key}": tensor for key, tensor in way(scheduler, steps, outputs, noise).items()}
    save_file(tensors, FOLDER / "golden.safetensors")
    (FOLDER / "configs.json").write_text(json.dumps(configs, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
