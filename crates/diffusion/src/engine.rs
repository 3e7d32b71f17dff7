//! The engine: a model on a thread of its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

use async_trait::async_trait;
use candle_core::{DType, Device};
use futures::channel::oneshot;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tintype_core::engine::{
    Engine, EngineError, EngineInfo, Generated, Observer, Preview, Progress, Warning,
};
use tintype_core::picture::Picture;
use tintype_core::request::GenerateRequest;
use tracing::{Span, trace_span};

use crate::model_hash::ModelHash;
use crate::noise::Noise;
use crate::pipeline::{Next, Pipeline, StepContext};
use crate::plan::ModelPlan;
use crate::schedule::Substitution;
use crate::{ModelError, ModelFiles};

/// Requests that may wait for the thread. The queue proper is the caller's, who hands in one request per
/// slot.
const QUEUE_CAPACITY: usize = 16;

/// Where a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// On the processor, in `f32`.
    #[default]
    Cpu,
    /// On the NVIDIA accelerator of this number, in `f16`. Needs the feature `cuda`.
    Cuda(usize),
    /// On the Apple accelerator of this number, in `f16`. Needs the feature `metal`.
    Metal(usize),
}

impl DeviceChoice {
    fn open(self) -> Result<(Device, DType), ModelError> {
        Ok(match self {
            Self::Cpu => (Device::Cpu, DType::F32),
            Self::Cuda(ordinal) => (Device::new_cuda(ordinal)?, DType::F16),
            Self::Metal(ordinal) => (Device::new_metal(ordinal)?, DType::F16),
        })
    }
}

/// How an engine runs its model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Where.
    pub device: DeviceChoice,
    /// Threads on the processor; as many as it has cores if not given.
    pub threads: Option<usize>,
    /// The JSON file in which the hashes of weights are remembered, in a folder that exists. Without it, the weights are
    /// hashed again after each start.
    pub hash_cache: Option<PathBuf>,
}

/// A Stable Diffusion model that makes pictures here, one request at a time.
///
/// Dropping it ends its thread after the request at hand.
pub struct DiffusionEngine {
    info: EngineInfo,
    hash: ModelHash,
    jobs: SyncSender<Job>,
}

struct Job {
    request: Arc<GenerateRequest>,
    observer: Arc<dyn Observer>,
    /// The caller's span, so that the stages of the job belong to its trace.
    span: Span,
    reply: oneshot::Sender<Result<Generated, EngineError>>,
}

impl DiffusionEngine {
    /// What is known of a model before it is loaded: reads its configurations, and its weights only for their
    /// checksums.
    ///
    /// # Errors
    /// [`ModelError`] for files that are missing, malformed or not supported, and a device that is not there.
    pub fn plan(name: &str, files: &ModelFiles, options: &EngineOptions) -> Result<EngineInfo, ModelError> {
        let (device, dtype) = options.device.open()?;
        Ok(ModelPlan::read(files, &device, dtype)?.engine_info(name, files))
    }

    /// Loads a model and starts its thread. Takes as long as reading the weights does.
    ///
    /// `name` is what the API calls the model.
    ///
    /// # Errors
    /// [`ModelError`] for files that are missing, malformed or not supported, and a device that is not there;
    /// [`ModelError::Threads`] if the system refuses to start the threads.
    pub fn load(name: &str, files: ModelFiles, options: EngineOptions) -> Result<Self, ModelError> {
        let (device, dtype) = options.device.open()?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.threads.unwrap_or(0))
            .thread_name(|index| format!("tintype-kernel-{index}"))
            .build()
            .map_err(|source| ModelError::Threads(source.into()))?;
        let (info, hash_sources, pipeline) = pool.install(|| {
            let plan = ModelPlan::read(&files, &device, dtype)?;
            let info = plan.engine_info(name, &files);
            let hash_sources = plan.unet_weights.hash_sources();
            Ok::<_, ModelError>((info, hash_sources, Pipeline::from_plan(plan, &device)?))
        })?;
        let (jobs, queue) = sync_channel(QUEUE_CAPACITY);
        thread::Builder::new()
            .name("tintype-engine".to_owned())
            .spawn(move || run_jobs(&pipeline, &pool, &queue))
            .map_err(|source| ModelError::Threads(source.into()))?;
        let hash = match files.model_hash() {
            Some(hash) => ModelHash::known(hash),
            None => ModelHash::compute(name, hash_sources, options.hash_cache),
        };
        Ok(Self { info, hash, jobs })
    }
}

#[async_trait]
impl Engine for DiffusionEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn model_hash(&self) -> Option<String> {
        self.hash.get()
    }

    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError> {
        let (reply, result) = oneshot::channel();
        self.jobs.try_send(Job { request, observer, span: Span::current(), reply }).map_err(|error| {
            match error {
                TrySendError::Full(_) => failed("more requests at once than the engine has slots"),
                TrySendError::Disconnected(_) => failed("the engine's thread has ended"),
            }
        })?;
        result.await.unwrap_or_else(|_| Err(failed("the engine's thread has ended")))
    }
}

fn failed(message: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::Failed(message.into())
}

/// The engine's thread: runs one job after another until the engine is dropped.
fn run_jobs(pipeline: &Pipeline, pool: &ThreadPool, queue: &Receiver<Job>) {
    while let Ok(Job { request, observer, span, reply }) = queue.recv() {
        // The pipeline has no state that a panic could leave broken; the observer is given up with its job.
        let run = || pool.install(|| span.in_scope(|| generate(pipeline, &request, &*observer)));
        let result = catch_unwind(AssertUnwindSafe(run));
        let result =
            result.unwrap_or_else(|panic| Err(failed(format!("panicked: {}", panic_message(&*panic)))));
        // The caller may have dropped its future; then the result is not needed.
        let _ = reply.send(result);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Makes a request's pictures, each as if it had been asked for alone with its own seed.
fn generate(
    pipeline: &Pipeline,
    request: &GenerateRequest,
    observer: &dyn Observer,
) -> Result<Generated, EngineError> {
    let start = Instant::now();
    if observer.is_abandoned() {
        return Err(EngineError::Abandoned);
    }
    observer.progress(Progress::Started);
    let error = |error: ModelError| match error {
        ModelError::NotFinite { .. } => EngineError::NotFinite(Box::new(error)),
        other => EngineError::Failed(Box::new(other)),
    };
    let conditioning = trace_span!("encode_text")
        .in_scope(|| pipeline.encode_prompts(&request.prompt, &request.negative_prompt, request.guidance))
        .map_err(error)?;
    let (width, height) = (request.width as usize, request.height as usize);
    let plan = pipeline.sampling_plan(width, height, request.steps as usize);
    let mut latents = Vec::new();
    for picture in 0..request.n {
        let mut noise = Noise::new(request.seed.value() + u64::from(picture));
        let noise = |shape: &candle_core::Shape| noise.normal(shape.clone(), &Device::Cpu);
        let between = |context: StepContext| {
            if context.ends_step() {
                let done = picture * request.steps + context.done as u32;
                observer.progress(Progress::Step { done, of: request.steps * request.n });
            }
            if observer.is_abandoned() {
                return Ok(Next::Stop);
            }
            if context.ends_step()
                && observer.wants_preview()
                && let Some(sample) = context.clean_sample()?
            {
                let pixels = pipeline.preview(&sample, width, height)?;
                observer.preview(Preview { picture, pixels });
            }
            Ok(Next::Continue)
        };
        match pipeline.denoise(&conditioning, plan, noise, between).map_err(error)? {
            Some(sample) => latents.push(sample),
            None => return Err(EngineError::Abandoned),
        }
    }
    observer.progress(Progress::Decoding);
    let mut pictures = Vec::new();
    for latents in latents {
        if observer.is_abandoned() {
            return Err(EngineError::Abandoned);
        }
        let pixels = trace_span!("decode").in_scope(|| pipeline.decode(&latents, width, height));
        pictures.push(Picture::Pixels(pixels.map_err(error)?));
    }
    let mut warnings = conditioning.warnings;
    warnings.extend(pipeline.substitution().map(|Substitution { class, substitute }| {
        Warning::SchedulerSubstituted { class: class.to_owned(), substitute: substitute.to_owned() }
    }));
    Ok(Generated { pictures, engine_seconds: start.elapsed().as_secs_f64(), warnings })
}
