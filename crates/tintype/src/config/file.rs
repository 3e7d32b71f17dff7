//! Reads the settings file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::regular_file;

use super::tree::{Leaf, Node, SettingSource, Table};

/// The settings file, if neither the flag nor the variable names another one. It may be absent.
const DEFAULT_FILE: &str = "tintype.toml";
/// Maximum size of the settings file, in bytes. Pipes are read too, as in `--config <(…)`, but not without
/// end.
const MAX_FILE: u64 = 1 << 20;

/// Reads the settings file; none if there is no file. `explicit` is the path that the user gave; that file
/// must exist.
///
/// # Errors
/// If the file cannot be read or is not valid TOML.
pub(super) fn read(folder: &Path, explicit: Option<&Path>) -> Result<Option<Table>> {
    let path = explicit.unwrap_or(Path::new(DEFAULT_FILE));
    match content(&folder.join(path)) {
        Err(error) if explicit.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => {
            let content =
                read.with_context(|| format!("cannot read the settings file {}", path.display()))?;
            parse(path, &content).map(Some)
        }
    }
}

fn content(path: &Path) -> io::Result<String> {
    let mut content = String::new();
    // `--config <(…)` is a pipe that the shell has opened, so it does not wait for a writer.
    let is_open =
        ["/dev/fd", "/dev/stdin", "/proc/self/fd", "/dev/null"].iter().any(|open| path.starts_with(open));
    let file = if is_open { File::open(path)? } else { regular_file::open(path)? };
    file.take(MAX_FILE + 1).read_to_string(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        let message = format!("it has more than {MAX_FILE} bytes, the maximum of a settings file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}

fn parse(path: &Path, content: &str) -> Result<Table> {
    let parsed = DeTable::parse(content).map_err(|error| malformed(path, content, &error))?;
    Ok(Document { path, content }.table(parsed.get_ref(), 0))
}

/// The TOML parser's error on one line, with the line number.
fn malformed(path: &Path, content: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = line(content, error.span().map_or(0, |span| span.start));
    anyhow!("{}, line {line}: {}", path.display(), error.message().replace('\n', ", "))
}

/// The number of the line that has this byte, from 1.
fn line(content: &str, byte: usize) -> usize {
    content.get(..byte).unwrap_or_default().matches('\n').count() + 1
}

/// A file that is valid TOML.
struct Document<'a> {
    path: &'a Path,
    content: &'a str,
}

impl Document<'_> {
    fn source(&self, byte: usize) -> SettingSource {
        SettingSource::File { path: self.path.to_owned(), line: line(self.content, byte) }
    }

    /// A table whose header starts at this byte.
    fn table(&self, parsed: &DeTable<'_>, start: usize) -> Table {
        let mut table = Table::new(self.source(start));
        let mut entries: Vec<_> = parsed.iter().collect();
        // The parser may sort the keys by name.
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, parsed) in entries {
            let start = key.span().start;
            let node = match parsed.get_ref() {
                DeValue::Table(table) => Node::Table(self.table(table, start)),
                other => Node::Leaf(Leaf { value: value(other), source: self.source(start) }),
            };
            table.set(key.get_ref(), node);
        }
        table
    }
}

/// The parser's value. A number that is too large for TOML stays a text, so that the error is about the
/// setting.
fn value(parsed: &DeValue<'_>) -> Value {
    match parsed {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(at) => Value::Datetime(*at),
        DeValue::Array(elements) => {
            Value::Array(elements.iter().map(|element| value(element.get_ref())).collect())
        }
        DeValue::Table(table) => {
            let entries =
                table.iter().map(|(key, parsed)| (key.get_ref().to_string(), value(parsed.get_ref())));
            Value::Table(entries.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_line_and_tables_keep_their_order() {
        let content = "queue = 0x10\n\n[models.b]\nsteps = 4\n[models.\"o/a\"]\nlist = [\n  1,\n  'x',\n]\n";
        let table = parse(Path::new("f.toml"), content).expect("valid");
        let line = |node: &Node| node.source().with_line();
        assert_eq!(table.get("queue").map(line).as_deref(), Some("f.toml, line 1"));
        assert_eq!(table.leaf("queue").expect("a value").value, Value::Integer(16));
        let models = table.table("models").expect("tables");
        assert_eq!(models.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "o/a"]);
        assert_eq!(models.get("b").map(line).as_deref(), Some("f.toml, line 3"));
        let list = models.table("o/a").and_then(|model| model.leaf("list")).expect("a list");
        assert_eq!(list.source.with_line(), "f.toml, line 6");
        assert_eq!(list.value, Value::Array(vec![Value::Integer(1), Value::String("x".into())]));
    }

    #[test]
    fn an_error_of_the_syntax_does_not_quote_the_file() {
        for content in [
            "a = 1\napi_key = hunter2",
            "a = 1\napi_key = 'hunter2",
            "a = 1\n[hunter2",
            "a = 1\na = 'hunter2'",
        ] {
            let error = parse(Path::new("f.toml"), content).expect_err(content).to_string();
            assert!(error.starts_with("f.toml, line 2: ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn numbers_beyond_toml_stay_texts() {
        let table = parse(Path::new("f.toml"), "a = 99999999999999999999\nb = 7.5\n").expect("valid");
        assert_eq!(table.leaf("a").expect("a").value, Value::String("99999999999999999999".into()));
        assert_eq!(table.leaf("b").expect("b").value, Value::Float(7.5));
    }
}
