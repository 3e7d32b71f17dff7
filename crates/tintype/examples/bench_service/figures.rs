//! What was measured, and how it is printed.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;

/// The table, and the claims that did not hold.
#[derive(Default)]
pub(crate) struct Sheet {
    pub(crate) broken: Vec<String>,
}

impl Sheet {
    /// A line of its own.
    pub(crate) fn line(&self, text: impl Display) -> Result<()> {
        writeln!(std::io::stdout(), "{text}")?;
        Ok(())
    }

    /// The head of a part.
    pub(crate) fn part(&self, title: &str) -> Result<()> {
        self.line(format_args!("\n{title}"))
    }

    /// A figure, with what it should be; `target` is empty if there is nothing to be said.
    pub(crate) fn row(&self, what: impl Display, measured: impl Display, target: impl Display) -> Result<()> {
        let (what, measured) = (what.to_string(), measured.to_string());
        self.line(format_args!("  {what:<52} {measured:>22}   {target}").to_string().trim_end())
    }

    /// A figure that has to be exactly this.
    pub(crate) fn claim(&mut self, what: impl Display, measured: i128, must_be: i128) -> Result<()> {
        let what = what.to_string();
        let broken = measured != must_be;
        self.row(&what, measured, format_args!("must be {must_be}{}", if broken { ": BROKEN" } else { "" }))?;
        if broken {
            self.broken.push(format!("{what}: {measured}, not {must_be}"));
        }
        Ok(())
    }
}

/// How long things took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that so many percent were within, in milliseconds; 0 if there are none.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// Both that people ask for.
    pub(crate) fn told(&mut self) -> String {
        format!("{:.1} / {:.1} ms", self.percentile(50), self.percentile(99))
    }
}
