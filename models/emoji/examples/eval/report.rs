//! What was found: a table to read, and the same with every detail as JSON.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::corners::Visited;
use crate::cost::Cost;
use crate::goldens::Compared;
use crate::labels::Drawn;

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) model: ModelCard,
    rows: Vec<Row>,
    pub(crate) cost: Cost,
    pub(crate) goldens: Vec<Compared>,
    pub(crate) corners: Vec<Visited>,
    pub(crate) labels: Vec<Drawn>,
}

/// The model's defaults.
#[derive(Serialize)]
pub(crate) struct ModelCard {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) steps: u32,
    pub(crate) guidance: f64,
}

/// A figure, and whether it is what was wanted.
#[derive(Serialize)]
struct Row {
    figure: String,
    measured: String,
    wanted: Option<String>,
    /// `None` for a figure without a target, or one that could not be measured.
    reached: Option<bool>,
}

impl Report {
    /// An empty one.
    pub(crate) fn of(model: &tintype_core::model::ModelCard) -> Self {
        let tintype_core::model::ModelCard { width, height, steps, guidance, .. } = *model;
        Self {
            model: ModelCard { width, height, steps, guidance },
            rows: Vec::new(),
            cost: Cost::default(),
            goldens: Vec::new(),
            corners: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// A figure that only informs.
    pub(crate) fn figure(&mut self, figure: &str, measured: String) {
        self.rows.push(Row { figure: figure.to_owned(), measured, wanted: None, reached: None });
    }

    /// A figure with a target; `reached` is `None` where it could not be measured.
    pub(crate) fn target(&mut self, figure: &str, measured: String, wanted: String, reached: Option<bool>) {
        self.rows.push(Row { figure: figure.to_owned(), measured, wanted: Some(wanted), reached });
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.rows.iter().map(Row::cells);
        let rows: Vec<[&str; 4]> = [["figure", "measured", "wanted", ""]].into_iter().chain(cells).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &rows {
            let [figure, measured, wanted, verdict] = row;
            let line =
                format!("{figure:0$}  {measured:1$}  {wanted:2$}  {verdict}", width(0), width(1), width(2));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Row {
    fn cells(&self) -> [&str; 4] {
        let verdict = match (self.reached, &self.wanted) {
            (Some(true), _) => "reached",
            (Some(false), _) => "MISSED",
            (None, Some(_)) => "unknown",
            (None, None) => "",
        };
        [&self.figure, &self.measured, self.wanted.as_deref().unwrap_or_default(), verdict]
    }
}

impl fmt::Display for ModelCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, steps, guidance } = self;
        write!(f, "the model: {width}×{height}, {steps} steps, guidance {guidance}")
    }
}

/// A share of one, in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Prints a line: this is a program for terminals.
#[expect(clippy::print_stdout, reason = "the evaluation is a command-line program")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
