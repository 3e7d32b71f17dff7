//! Prints the measurements.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;

/// Prints a table, and collects the failed checks.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) failed_checks: Vec<String>,
}

impl Report {
    /// Prints a line.
    pub(crate) fn line(&self, text: impl Display) -> Result<()> {
        writeln!(std::io::stdout(), "{text}")?;
        Ok(())
    }

    /// Prints the heading of a benchmark.
    pub(crate) fn section(&self, title: &str) -> Result<()> {
        self.line(format_args!("\n{title}"))
    }

    /// Prints a measurement and its target or a remark, which may be empty.
    pub(crate) fn row(
        &self,
        label: impl Display,
        measured: impl Display,
        target: impl Display,
    ) -> Result<()> {
        let (label, measured) = (label.to_string(), measured.to_string());
        self.line(format_args!("  {label:<52} {measured:>22}   {target}").to_string().trim_end())
    }

    /// Prints a measurement that must have the expected value.
    pub(crate) fn check(&mut self, label: impl Display, measured: i128, expected: i128) -> Result<()> {
        let label = label.to_string();
        let failed = measured != expected;
        self.row(
            &label,
            measured,
            format_args!("must be {expected}{}", if failed { ": FAILED" } else { "" }),
        )?;
        if failed {
            self.failed_checks.push(format!("{label}: {measured}, must be {expected}"));
        }
        Ok(())
    }
}

/// A set of latencies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The percentile in milliseconds; 0 if the set is empty.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let index = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// The 50th and the 99th percentile, for a row.
    pub(crate) fn summary(&mut self) -> String {
        format!("{:.1} / {:.1} ms", self.percentile(50), self.percentile(99))
    }
}
