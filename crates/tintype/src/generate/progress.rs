//! Progress bar on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tintype_core::engine::{Observer, Progress};

const SPINNER: &str = "{spinner} {msg}";
const STEPS: &str = "{spinner} {msg} [{bar:32}] {pos}/{len} steps, {eta} left";

/// A progress bar on standard error, which shows nothing if standard error is not a terminal.
pub(super) struct TerminalProgress(ProgressBar);

impl TerminalProgress {
    /// A spinner with this message; it becomes a bar at the first step.
    pub(super) fn new(target: ProgressDrawTarget, message: &'static str) -> Self {
        let bar =
            ProgressBar::with_draw_target(None, target).with_style(style(SPINNER)).with_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Removes the bar from the terminal.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Observer for TerminalProgress {
    fn progress(&self, progress: Progress) {
        match progress {
            Progress::Started => self.0.set_message("encoding the prompt"),
            Progress::Step { done, of } => {
                if self.0.length().is_none() {
                    self.0.set_length(of.into());
                    self.0.set_style(style(STEPS));
                    self.0.set_message("denoising");
                }
                self.0.set_position(done.into());
            }
            Progress::Decoding => {
                self.0.set_style(style(SPINNER));
                self.0.set_message("decoding");
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        false
    }
}

impl Drop for TerminalProgress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("both templates are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid_and_steps_are_counted() {
        let bar = TerminalProgress::new(ProgressDrawTarget::hidden(), "loading");
        bar.progress(Progress::Started);
        bar.progress(Progress::Step { done: 3, of: 20 });
        assert_eq!((bar.0.position(), bar.0.length()), (3, Some(20)));
        bar.progress(Progress::Decoding);
        assert_eq!(bar.0.message(), "decoding");
    }
}
