//! Pictures in the making.

use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use tintype_core::engine::{Engine, Generated, Observer, Preview, Progress};
use tintype_core::picture::Pixels;
use tintype_core::request::Draft;
use tintype_diffusion::{DiffusionEngine, EngineOptions, ModelFiles};

use crate::common::{FAMILIES, copy, engine, folder, pixels, request};

/// Remembers the steps and the previews, and wants so many of these.
struct Watcher {
    wanted: usize,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Step(u32),
    Preview(Preview),
}

impl Watcher {
    fn wanting(wanted: usize) -> Arc<Self> {
        Arc::new(Self { wanted, seen: Mutex::default() })
    }

    fn previews(&self) -> Vec<Preview> {
        let seen = self.seen.lock().expect("no panic while locked");
        let preview = |seen: &Seen| match seen {
            Seen::Preview(preview) => Some(preview.clone()),
            Seen::Step(_) => None,
        };
        seen.iter().filter_map(preview).collect()
    }
}

impl Observer for Watcher {
    fn progress(&self, progress: Progress) {
        if let Progress::Step { done, .. } = progress {
            self.seen.lock().expect("no panic while locked").push(Seen::Step(done));
        }
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn wants_preview(&self) -> bool {
        self.previews().len() < self.wanted
    }

    fn preview(&self, preview: Preview) {
        self.seen.lock().expect("no panic while locked").push(Seen::Preview(preview));
    }
}

fn watch(engine: &DiffusionEngine, draft: Draft, watcher: &Arc<Watcher>) -> Generated {
    block_on(engine.generate(request(engine, draft), Arc::clone(watcher) as _)).expect("pictures")
}

#[test]
fn a_preview_follows_its_step_while_it_is_wanted() {
    let engine = engine("sd15");
    let draft = Draft { n: Some(2), steps: Some(2), ..Draft::default() };
    let told = |wanted| {
        let watcher = Watcher::wanting(wanted);
        watch(&engine, draft.clone(), &watcher);
        let seen = watcher.seen.lock().expect("no panic while locked");
        seen.iter()
            .map(|seen| match seen {
                Seen::Step(done) => format!("step {done}"),
                Seen::Preview(preview) => format!("picture {}", preview.picture),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(told(0), ["step 1", "step 2", "step 3", "step 4"]);
    let three = ["step 1", "picture 0", "step 2", "picture 0", "step 3", "picture 1", "step 4"];
    assert_eq!(told(3), three);
    assert_eq!(told(9), [&three[..], &["picture 1"]].concat());
}

#[test]
fn previews_change_no_picture() {
    for family in FAMILIES {
        let mut schedulers: Vec<_> = std::fs::read_dir(folder(family).join("schedulers"))
            .expect("schedulers")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        schedulers.sort_unstable();
        assert!(schedulers.len() >= 5, "{schedulers:?}");
        for scheduler in schedulers {
            let model = copy(family);
            let target = model.path().join("scheduler/scheduler_config.json");
            std::fs::copy(&scheduler, target).expect("a copy");
            let files = ModelFiles::folder(model.path()).expect("a model folder");
            let options = EngineOptions { threads: Some(2), ..EngineOptions::default() };
            let engine = DiffusionEngine::load(family, files, options).expect("an engine");
            let draft = Draft { seed: Some(3), steps: Some(3), ..Draft::default() };
            let [unseen, seen, unseen_again] = [0, 3, 0].map(|wanted| {
                let watcher = Watcher::wanting(wanted);
                let generated = watch(&engine, draft.clone(), &watcher);
                assert_eq!(watcher.previews().len(), wanted, "{scheduler:?}");
                pixels(&generated)[0].clone()
            });
            assert!(unseen == seen && seen == unseen_again, "{family}, {scheduler:?}");
        }
    }
}

#[test]
fn previews_have_the_pictures_proportions() {
    // One of them has 16 pixels to a latent, so that half a latent is cut off at the top and at the bottom.
    for family in ["builtin", "sd15", "turbo"] {
        let engine = engine(family);
        let draft = Draft { width: Some(64), height: Some(88), steps: Some(2), ..Draft::default() };
        let watcher = Watcher::wanting(2);
        watch(&engine, draft, &watcher);
        let sizes: Vec<_> =
            watcher.previews().iter().map(|p| [p.pixels.width(), p.pixels.height()]).collect();
        assert_eq!(sizes, [[96, 132]; 2], "{family}");
    }
}

#[test]
fn previews_look_like_the_picture_that_comes() {
    let files = ModelFiles::embedded(tintype_emoji::FILES).expect("the built-in model");
    let engine = DiffusionEngine::load("emoji", files, EngineOptions::default()).expect("an engine");
    let (mut previews, mut pictures) = (Vec::new(), Vec::new());
    for prompt in ["red heart", "green apple", "blue car", "yellow smiling face"] {
        let watcher = Watcher::wanting(8);
        let draft =
            Draft { prompt: Some(prompt.to_owned()), seed: Some(1), steps: Some(8), ..Draft::default() };
        let generated = watch(&engine, draft, &watcher);
        pictures.push(thumbnail(pixels(&generated)[0]));
        previews.push(watcher.previews().last().map(|p| thumbnail(&p.pixels)).expect("a preview"));
    }
    let mean = |pairs: Vec<f64>| pairs.iter().sum::<f64>() / pairs.len() as f64;
    let own = mean(previews.iter().zip(&pictures).map(|(a, b)| distance(a, b)).collect());
    let any = previews.iter().flat_map(|a| pictures.iter().map(|b| distance(a, b)));
    let any = mean(any.collect());
    assert!(own < 0.6 * any, "{own:.1} from their pictures, {any:.1} from any");
}

/// The means of 8 by 8 parts of a square picture, `[8, 8, 3]`.
fn thumbnail(pixels: &Pixels) -> Vec<f64> {
    let side = pixels.width() as usize;
    let part = side / 8;
    let mut means = vec![0.0; 8 * 8 * 3];
    for (i, sample) in pixels.rgb().iter().enumerate() {
        let (y, x, colour) = (i / 3 / side, i / 3 % side, i % 3);
        means[(y / part * 8 + x / part) * 3 + colour] += f64::from(*sample) / (part * part) as f64;
    }
    means
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}
