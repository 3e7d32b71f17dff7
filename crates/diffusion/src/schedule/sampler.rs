//! The steps of a plan, and taking one.

use candle_core::{Result, Tensor};

/// A planned way from noise to a sample. Good for one picture or batch: some formulas remember the step
/// before.
#[derive(Clone, Debug)]
pub struct Sampler {
    pub(super) steps: Vec<Step>,
    pub(super) timesteps: Vec<f64>,
    /// The ratio of noise to sample before each step, and after the last.
    pub(super) sigmas: Vec<f64>,
    pub(super) init_noise_sigma: f64,
    /// The clean sample is cut off at ± this.
    pub(super) clip: Option<f64>,
    /// The clean sample as the step before saw it.
    pub(super) previous_clean: Option<Tensor>,
}

/// One step: from the noisy sample `x` and the model's output `m`, first the clean sample it hints at, then
/// the sample with less noise.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    /// What the model gets to see is `x` times this.
    pub(super) input: f64,
    /// The clean sample is `sample · x + output · m`.
    pub(super) clean: LinearCombination,
    /// How much of `x` and `m` goes into the next sample,
    pub(super) next: LinearCombination,
    /// how much of the clean sample,
    pub(super) from_clean: f64,
    /// of the step before's,
    pub(super) from_previous: f64,
    /// and of fresh noise.
    pub(super) from_noise: f64,
}

/// Shares of the sample and of the model's output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinearCombination {
    pub(super) sample: f64,
    pub(super) output: f64,
}

impl LinearCombination {
    fn apply(self, sample: &Tensor, output: &Tensor) -> Result<Tensor> {
        match (self.sample == 0.0, self.output == 0.0) {
            (_, true) => sample * self.sample,
            (true, false) => output * self.output,
            (false, false) => (sample * self.sample)? + (output * self.output)?,
        }
    }
}

impl Sampler {
    /// The timestep that the model receives at each step; one per step.
    #[must_use]
    pub fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    /// The ratio of noise to sample before each step, and after the last.
    #[must_use]
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// What standard normal noise is multiplied with to become the first sample.
    #[must_use]
    pub fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    /// Whether step `step` mixes in fresh noise.
    #[must_use]
    pub fn needs_noise(&self, step: usize) -> bool {
        self.steps.get(step).is_some_and(|step| step.from_noise != 0.0)
    }

    /// The sample as the model gets to see it at step `step`.
    ///
    /// # Errors
    /// If there is no such step, or the tensor library fails.
    pub fn scale_model_input(&self, sample: &Tensor, step: usize) -> Result<Tensor> {
        let Step { input, .. } = self.numbers(step)?;
        if *input == 1.0 { Ok(sample.clone()) } else { sample * *input }
    }

    /// What the model's output at step `step` hints at: `sample` without the noise that the model sees in it.
    ///
    /// # Errors
    /// If there is no such step, or the tensor library fails.
    pub fn clean_sample(&self, step: usize, sample: &Tensor, model_output: &Tensor) -> Result<Tensor> {
        let clean = self.numbers(step)?.clean.apply(sample, model_output)?;
        match self.clip {
            Some(clip) => clean.clamp(-clip, clip),
            None => Ok(clean),
        }
    }

    /// Takes step `step`, from 0, each once and in order: from `sample` and what the model said about it to
    /// the sample with less noise. `noise` is standard normal and of the sample's shape; it is needed if
    /// [`needs_noise`](Sampler::needs_noise) says so.
    ///
    /// # Errors
    /// If there is no such step, the noise is missing, or the tensor library fails.
    pub fn step(
        &mut self,
        step: usize,
        sample: &Tensor,
        model_output: &Tensor,
        noise: Option<&Tensor>,
    ) -> Result<Tensor> {
        let numbers = self.numbers(step)?.clone();
        let mut next = numbers.next.apply(sample, model_output)?;
        if numbers.from_clean != 0.0 {
            let clean = self.clean_sample(step, sample, model_output)?;
            next = (next + (&clean * numbers.from_clean)?)?;
            if numbers.from_previous != 0.0 {
                let Some(previous) = &self.previous_clean else {
                    candle_core::bail!("step {step} was taken before step {}", step.saturating_sub(1));
                };
                next = (next + (previous * numbers.from_previous)?)?;
            }
            self.previous_clean = Some(clean);
        }
        if numbers.from_noise != 0.0 {
            let Some(noise) = noise else { candle_core::bail!("step {step} needs noise") };
            next = (next + (noise * numbers.from_noise)?)?;
        }
        Ok(next)
    }

    fn numbers(&self, step: usize) -> Result<&Step> {
        match self.steps.get(step) {
            Some(step) => Ok(step),
            None => candle_core::bail!("there is no step {step}; the plan has {}", self.steps.len()),
        }
    }
}
