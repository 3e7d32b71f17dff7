//! The engine as the service sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use serde_json::json;
use tintype_core::engine::{Engine, EngineError, Generated, Observer, Progress, Warning};
use tintype_core::model::{Evaluations, Sampling};
use tintype_core::request::Draft;
use tintype_diffusion::{DiffusionEngine, EngineOptions, ModelFiles};

use crate::common::{copy, engine, pixels, request};

/// Records the progress, and abandons the request after a number of steps.
#[derive(Default)]
struct Follower {
    told: Mutex<Vec<Progress>>,
    abandon_after: Option<u32>,
    abandoned: AtomicBool,
    panics: bool,
}

impl Observer for Follower {
    fn progress(&self, progress: Progress) {
        assert!(!self.panics, "an observer that panics");
        self.told.lock().expect("no panic while locked").push(progress);
        if matches!(progress, Progress::Step { done, .. } if Some(done) == self.abandon_after) {
            self.abandoned.store(true, Ordering::SeqCst);
        }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}

fn generate(engine: &DiffusionEngine, draft: Draft) -> Generated {
    let follower = Arc::new(Follower::default());
    block_on(engine.generate(request(engine, draft), follower)).expect("pictures")
}

#[test]
fn a_seed_always_makes_the_same_picture() {
    let engine = engine("sd15");
    let draft = |seed| Draft { seed: Some(seed), ..Draft::default() };
    let (first, again, other) =
        (generate(&engine, draft(7)), generate(&engine, draft(7)), generate(&engine, draft(8)));
    assert_eq!(pixels(&first), pixels(&again));
    assert_ne!(pixels(&first), pixels(&other));
    assert!(first.engine_seconds > 0.0);
    let reloaded = generate(&self::engine("sd15"), draft(7));
    assert_eq!(pixels(&first), pixels(&reloaded));
}

#[test]
fn several_pictures_are_those_of_the_seeds_that_follow() {
    // Ancestral steps add noise of their own, which must not come from the picture before.
    let model = copy("sd15");
    let scheduler = model.path().join("schedulers/euler-ancestral.json");
    std::fs::copy(scheduler, model.path().join("scheduler/scheduler_config.json")).expect("a copy");
    let files = ModelFiles::folder(model.path()).expect("a model folder");
    let engine = DiffusionEngine::load("x", files, EngineOptions::default()).expect("an engine");
    let three = generate(&engine, Draft { seed: Some(5), n: Some(3), ..Draft::default() });
    assert_eq!(three.pictures.len(), 3);
    for (i, picture) in pixels(&three).into_iter().enumerate() {
        let alone = generate(&engine, Draft { seed: Some(5 + i as i64), ..Draft::default() });
        assert_eq!(pixels(&alone), [picture]);
    }
}

/// Checks the progress of two pictures of two steps each.
fn assert_progress_of_two_pictures(engine: &DiffusionEngine) {
    let follower = Arc::new(Follower::default());
    let draft = Draft { n: Some(2), steps: Some(2), ..Draft::default() };
    block_on(engine.generate(request(engine, draft), Arc::clone(&follower) as _)).expect("pictures");
    let step = |done| Progress::Step { done, of: 4 };
    let told = follower.told.lock().expect("no panic while locked");
    assert_eq!(*told, [Progress::Started, step(1), step(2), step(3), step(4), Progress::Decoding]);
}

#[test]
fn progress_is_told_in_order_over_all_pictures() {
    assert_progress_of_two_pictures(&engine("turbo"));
}

#[test]
fn work_that_nobody_waits_for_stops_between_two_steps() {
    let engine = engine("sd15");
    let follower = Arc::new(Follower { abandon_after: Some(2), ..Follower::default() });
    let work = engine.generate(request(&engine, Draft::default()), Arc::clone(&follower) as _);
    assert!(matches!(block_on(work), Err(EngineError::Abandoned)));
    let last = follower.told.lock().expect("no panic while locked").last().copied();
    assert_eq!(last, Some(Progress::Step { done: 2, of: 4 }));

    let gone = Arc::new(Follower { abandoned: AtomicBool::new(true), ..Follower::default() });
    let work = engine.generate(request(&engine, Draft::default()), Arc::clone(&gone) as _);
    assert!(matches!(block_on(work), Err(EngineError::Abandoned)));
    assert!(gone.told.lock().expect("no panic while locked").is_empty());
}

#[test]
fn a_panic_is_an_error_and_the_engine_lives_on() {
    let engine = engine("builtin");
    let follower = Arc::new(Follower { panics: true, ..Follower::default() });
    let work = block_on(engine.generate(request(&engine, Draft::default()), follower));
    let Err(EngineError::Failed(source)) = work else { panic!("must fail") };
    assert!(source.to_string().contains("an observer that panics"), "{source}");
    assert_eq!(generate(&engine, Draft::default()).pictures.len(), 1);
}

#[test]
fn any_size_in_steps_of_eight_is_made() {
    // The built-in model's decoder has 16 pixels to a latent, so 72 and 88 need its middle cut out.
    for family in ["builtin", "sd15", "turbo"] {
        let engine = engine(family);
        for (width, height) in [(64, 64), (72, 88), (120, 64)] {
            let draft =
                Draft { width: Some(width), height: Some(height), steps: Some(1), ..Draft::default() };
            let generated = generate(&engine, draft);
            let sizes: Vec<_> =
                pixels(&generated).iter().map(|p| (p.width().into(), p.height().into())).collect();
            assert_eq!(sizes, [(width, height)], "{family}");
        }
    }
}

#[test]
fn prompts_that_were_cut_are_warned_about() {
    let engine = engine("sd15");
    let long = "a cat ".repeat(20) + "tiger";
    let draft = Draft { prompt: Some(long.clone()), negative_prompt: Some(long), ..Draft::default() };
    let warnings = generate(&engine, draft.clone()).warnings;
    let parameters: Vec<_> = warnings
        .iter()
        .map(|warning| match warning {
            Warning::PromptTruncated { parameter, limit, omitted } => {
                assert!(*limit == 16 && omitted.ends_with("tiger"), "{omitted}");
                *parameter
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(parameters, ["negative_prompt", "prompt"]);
    let unguided = generate(&engine, Draft { guidance: Some(1.0), ..draft });
    assert_eq!(unguided.warnings.len(), 1, "without guidance the negative prompt has no effect");
}

/// The engine with a model of another scheduler.
fn engine_with(scheduler: &serde_json::Value) -> DiffusionEngine {
    let model = copy("sd15");
    std::fs::write(model.path().join("scheduler/scheduler_config.json"), scheduler.to_string())
        .expect("a file");
    let files = ModelFiles::folder(model.path()).expect("a model folder");
    DiffusionEngine::load("x", files, EngineOptions::default()).expect("an engine")
}

#[test]
fn every_image_of_a_substituted_scheduler_has_a_warning() {
    let engine = engine_with(&json!({"_class_name": "KDPM2DiscreteScheduler"}));
    let expected = Warning::SchedulerSubstituted {
        class: "KDPM2DiscreteScheduler".to_owned(),
        substitute: "HeunDiscreteScheduler".to_owned(),
    };
    for seed in 0..2 {
        let draft = Draft { seed: Some(seed), steps: Some(2), ..Draft::default() };
        assert_eq!(generate(&engine, draft).warnings, std::slice::from_ref(&expected));
    }
    let full = engine_with(&json!({"_class_name": "HeunDiscreteScheduler"}));
    assert_eq!(generate(&full, Draft { steps: Some(2), ..Draft::default() }).warnings, []);
}

#[test]
fn a_step_of_two_evaluations_counts_once() {
    let engine = engine_with(&json!({"_class_name": "HeunDiscreteScheduler"}));
    assert_eq!(engine.model().sampling.evaluations, Evaluations::TwicePerStep);
    assert_progress_of_two_pictures(&engine);
}

#[test]
fn steps_are_limited_by_the_scheduler() {
    let lcm = json!({"_class_name": "LCMScheduler", "original_inference_steps": 3});
    let engine = engine_with(&lcm);
    assert_eq!(engine.model().sampling, Sampling { max_steps: 3, evaluations: Evaluations::OncePerStep });
    // The folder's own default is 4.
    assert_eq!(engine.model().steps, 3);
    assert_eq!(generate(&engine, Draft::default()).pictures.len(), 1);
}

#[test]
fn guidance_of_one_is_no_guidance() {
    let engine = engine("sd15");
    let picture = |guidance: f64, negative: &str| {
        let negative_prompt = Some(negative.to_owned());
        let draft = Draft { guidance: Some(guidance), negative_prompt, ..Draft::default() };
        pixels(&generate(&engine, draft))[0].clone()
    };
    assert_eq!(picture(1.0, "tiger"), picture(0.0, ""));
    assert_ne!(picture(9.0, "tiger"), picture(9.0, ""));
}

#[test]
fn defaults_come_from_the_folder() {
    let engine = engine("builtin");
    let model = engine.model();
    assert_eq!((model.name.as_str(), model.width, model.height), ("builtin", 64, 64));
    assert_eq!((model.steps, model.guidance), (4, 3.0));
    let needed = |side| {
        let draft = Draft { width: Some(side), height: Some(side), ..Draft::default() };
        engine.model().memory_needed(&request(&engine, draft))
    };
    let fixed = 32 << 20;
    assert!(needed(256) - fixed > 10 * (needed(64) - fixed) && needed(64) - fixed > 64 * 64 * 12 * 4);
}

#[test]
fn folders_that_are_not_models_say_what_is_wrong() {
    let load = |change: &dyn Fn(&std::path::Path)| {
        let model = copy("sd15");
        change(model.path());
        ModelFiles::folder(model.path())
            .and_then(|files| DiffusionEngine::load("x", files, EngineOptions::default()))
            .err()
            .expect("must be refused")
            .to_string()
    };
    let remove =
        |name: &'static str| load(&move |path| std::fs::remove_file(path.join(name)).expect("a file"));
    for name in [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
        "text_encoder/model.fp16.safetensors",
    ] {
        let error = remove(name);
        let stem = name.split('.').next().expect("a stem");
        assert!(error.contains(stem) && error.contains("missing"), "{name}: {error}");
    }
    let truncation = load(&|path| {
        let weights = path.join("vae/diffusion_pytorch_model.fp16.safetensors");
        let bytes = std::fs::read(&weights).expect("weights");
        std::fs::write(&weights, &bytes[..bytes.len() / 2]).expect("half of it");
    });
    assert!(
        truncation.contains("vae/diffusion_pytorch_model") && truncation.contains("malformed"),
        "{truncation}"
    );
    let sdxl = load(&|path| {
        let index = r#"{"_class_name":"StableDiffusionXLPipeline"}"#;
        std::fs::write(path.join("model_index.json"), index).expect("an index");
    });
    assert!(sdxl.contains("_class_name") && sdxl.contains("StableDiffusionXLPipeline"), "{sdxl}");
    // Two models' parts, each good in itself.
    let mixed = load(&|path| {
        for file in ["config.json", "diffusion_pytorch_model.fp16.safetensors"] {
            std::fs::copy(
                crate::common::folder("builtin").join("vae").join(file),
                path.join("vae").join(file),
            )
            .expect("a copy");
        }
    });
    assert!(mixed.contains("in_channels") && mixed.contains("latent_channels"), "{mixed}");
}
