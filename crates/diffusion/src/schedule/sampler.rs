//! The numbers of a plan, and going through it with tensors.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

/// A planned way from noise to a sample, one evaluation of the model after another. Good for one image or batch: it
/// remembers the last evaluations.
#[derive(Clone, Debug)]
pub struct Sampler {
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) timesteps: Vec<f64>,
    /// The ratio of noise to sample before each evaluation, and after the last.
    pub(super) sigmas: Vec<f64>,
    pub(super) init_noise_sigma: f64,
    /// The clean sample is cut off at ± this.
    pub(super) clip: Option<f64>,
    /// The last evaluations, the newest first.
    history: VecDeque<Record>,
}

/// One evaluation of the model and the update after it.
///
/// From the noisy sample `x` and the model's output `m` follows an estimate `c` of the clean sample. A corrector can then
/// replace `x` by a better sample `z`. The next sample is a linear combination of `x`, `m`, `c` and `z` of this evaluation
/// and of those before it, and of fresh noise.
#[derive(Clone, Debug)]
pub(super) struct Evaluation {
    /// The model's input is `x` times this.
    pub(super) input: f64,
    /// `c` from `x` and `m`.
    pub(super) clean: LinearCombination,
    /// `z`, by age: element 0 is about this evaluation (where `z` is not known yet), element 1 about the one before.
    /// If it is empty, `z` is `x`.
    pub(super) correction: Vec<Weights>,
    /// The next sample, by age as well.
    pub(super) next: Vec<Weights>,
    /// The share of fresh noise in the next sample.
    pub(super) fresh_noise: f64,
    /// What the evaluation is to its denoising step.
    pub(super) part: Part,
}

/// The part of a denoising step that an evaluation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole step, or its last evaluation.
    #[default]
    Last,
    /// Another evaluation of the same step follows.
    First,
}

/// Shares of the sample and of the model's output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinearCombination {
    pub(super) sample: f64,
    pub(super) output: f64,
}

/// The shares of one evaluation in a sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weights {
    /// Of the sample `x` that the model was evaluated at.
    pub(super) sample: f64,
    /// Of the model's output `m`.
    pub(super) output: f64,
    /// Of the clean sample `c`.
    pub(super) clean: f64,
    /// Of the corrected sample `z`.
    pub(super) corrected: f64,
}

/// The tensors of one evaluation.
#[derive(Clone, Debug)]
struct Record {
    sample: Tensor,
    output: Tensor,
    clean: Tensor,
    corrected: Tensor,
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

impl Weights {
    /// `share` of a combination of the sample and the model's output.
    pub(super) fn of(combination: LinearCombination, share: f64) -> Self {
        let LinearCombination { sample, output } = combination;
        Self { sample: share * sample, output: share * output, ..Self::default() }
    }

    fn all(self) -> [f64; 4] {
        [self.sample, self.output, self.clean, self.corrected]
    }
}

impl Evaluation {
    /// Every number, to be checked.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> {
        let weights = self.correction.iter().chain(&self.next).flat_map(|weights| weights.all());
        [self.input, self.clean.sample, self.clean.output, self.fresh_noise].into_iter().chain(weights)
    }

    /// How many evaluations the update needs, with its own.
    fn reach(&self) -> usize {
        self.correction.len().max(self.next.len())
    }
}

/// What a plan consists of.
pub(super) struct Plan {
    pub(super) evaluations: Vec<Evaluation>,
    /// One per evaluation.
    pub(super) timesteps: Vec<f64>,
    /// One more than timesteps.
    pub(super) sigmas: Vec<f64>,
    pub(super) init_noise_sigma: f64,
    pub(super) clip: Option<f64>,
}

impl Sampler {
    pub(super) fn new(plan: Plan) -> Self {
        let Plan { evaluations, timesteps, sigmas, init_noise_sigma, clip } = plan;
        Self { evaluations, timesteps, sigmas, init_noise_sigma, clip, history: VecDeque::new() }
    }

    /// The timestep that the model receives at each evaluation.
    #[must_use]
    pub fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    /// The ratio of noise to sample before each evaluation, and after the last.
    #[must_use]
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// What standard normal noise is multiplied with to become the first sample.
    #[must_use]
    pub fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    /// Whether the update after this evaluation mixes in fresh noise.
    #[must_use]
    pub fn needs_noise(&self, evaluation: usize) -> bool {
        self.evaluations.get(evaluation).is_some_and(|numbers| numbers.fresh_noise != 0.0)
    }

    /// Whether a denoising step is complete after this evaluation.
    #[must_use]
    pub fn ends_step(&self, evaluation: usize) -> bool {
        self.evaluations.get(evaluation).is_some_and(|numbers| numbers.part == Part::Last)
    }

    /// The sample as the model receives it.
    ///
    /// # Errors
    /// If there is no such evaluation, or the tensor library fails.
    pub fn scale_model_input(&self, sample: &Tensor, evaluation: usize) -> Result<Tensor> {
        let Evaluation { input, .. } = self.numbers(evaluation)?;
        if *input == 1.0 { Ok(sample.clone()) } else { sample * *input }
    }

    /// The estimate of the clean sample: `sample` without the noise that the model sees in it.
    ///
    /// # Errors
    /// If there is no such evaluation, or the tensor library fails.
    pub fn clean_sample(&self, evaluation: usize, sample: &Tensor, model_output: &Tensor) -> Result<Tensor> {
        let clean = self.numbers(evaluation)?.clean.apply(sample, model_output)?;
        match self.clip {
            Some(clip) => clean.clamp(-clip, clip),
            None => Ok(clean),
        }
    }

    /// The update after an evaluation, from 0, each once and in order: from `sample` and the model's output to the next
    /// sample. `noise` is standard normal and of the sample's shape; it is needed if
    /// [`needs_noise`](Sampler::needs_noise) says so.
    ///
    /// # Errors
    /// If there is no such evaluation, one before it was left out, the noise is missing, or the tensor library fails.
    pub fn step(
        &mut self,
        evaluation: usize,
        sample: &Tensor,
        model_output: &Tensor,
        noise: Option<&Tensor>,
    ) -> Result<Tensor> {
        let clean = self.clean_sample(evaluation, sample, model_output)?;
        self.history.push_front(Record {
            sample: sample.clone(),
            output: model_output.clone(),
            clean,
            corrected: sample.clone(),
        });
        let numbers = self.numbers(evaluation)?;
        if numbers.reach() > self.history.len() {
            candle_core::bail!(
                "evaluation {evaluation} came before evaluation {}",
                evaluation.saturating_sub(1)
            );
        }
        let corrected = match numbers.correction.as_slice() {
            [] => None,
            correction => Some(self.combine(correction)?),
        };
        if let (Some(corrected), Some(newest)) = (corrected, self.history.front_mut()) {
            newest.corrected = corrected;
        }
        let numbers = self.numbers(evaluation)?;
        let mut next = self.combine(&numbers.next)?;
        if numbers.fresh_noise != 0.0 {
            let Some(noise) = noise else { candle_core::bail!("evaluation {evaluation} needs noise") };
            next = (next + (noise * numbers.fresh_noise)?)?;
        }
        let later = self.evaluations.iter().skip(evaluation + 1);
        let reach = later.map(Evaluation::reach).max().unwrap_or(0);
        self.history.truncate(reach.saturating_sub(1));
        Ok(next)
    }

    /// The sum of the last evaluations with these weights, by age.
    fn combine(&self, weights: &[Weights]) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (weights, record) in weights.iter().zip(&self.history) {
            let tensors = [&record.sample, &record.output, &record.clean, &record.corrected];
            for (weight, tensor) in weights.all().into_iter().zip(tensors) {
                if weight == 0.0 {
                    continue;
                }
                let term = (tensor * weight)?;
                sum = Some(match sum {
                    Some(sum) => (sum + term)?,
                    None => term,
                });
            }
        }
        match sum {
            Some(sum) => Ok(sum),
            None => candle_core::bail!("a sample without any share of the last evaluations"),
        }
    }

    fn numbers(&self, evaluation: usize) -> Result<&Evaluation> {
        match self.evaluations.get(evaluation) {
            Some(numbers) => Ok(numbers),
            None => {
                candle_core::bail!(
                    "there is no evaluation {evaluation}; the plan has {}",
                    self.evaluations.len()
                )
            }
        }
    }
}
