//! How far it has come, on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tintype_core::engine::{Observer, Progress};

const WAITING: &str = "{spinner} {msg}";
const STEPPING: &str = "{spinner} {msg} [{bar:32}] {pos}/{len} steps, {eta} left";

/// A bar on standard error; nothing at all if that is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar that only turns, until the first step is done.
    pub(super) fn new(shown: bool, message: &'static str) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar =
            ProgressBar::with_draw_target(None, target).with_style(style(WAITING)).with_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Removes it.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Observer for Bar {
    fn progress(&self, progress: Progress) {
        match progress {
            Progress::Started => self.0.set_message("reading the prompt"),
            Progress::Step { done, of } => {
                if self.0.length().is_none() {
                    self.0.set_length(of.into());
                    self.0.set_style(style(STEPPING));
                    self.0.set_message("denoising");
                }
                self.0.set_position(done.into());
            }
            Progress::Decoding => {
                self.0.set_style(style(WAITING));
                self.0.set_message("decoding");
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        false
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("both templates are tested")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid_and_steps_are_counted() {
        let bar = Bar::new(false, "loading");
        bar.progress(Progress::Started);
        bar.progress(Progress::Step { done: 3, of: 20 });
        assert_eq!((bar.0.position(), bar.0.length()), (3, Some(20)));
        bar.progress(Progress::Decoding);
        assert_eq!(bar.0.message(), "decoding");
    }
}
