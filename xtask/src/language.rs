//! A lint for the language of documents and of the texts that users read. The rules behind it are in
//! docs/STYLE.md.
//!
//! It reads the documents (`*.md`, `*.toml`, `*.yaml`, `*.yml`), the API's description (which holds every
//! description and example that a client sees), and the string literals of the product's Rust code: error
//! messages, log messages, output. In a file that defines the command line, doc comments are help texts, so
//! they count too. Tests are left out.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};

use crate::shell::{output, program, root};

/// Phrases that make a reader search for the subject, with what to write instead. A pattern is a sequence of
/// words; `a|b` is either word, `*` is any one word.
const PHRASES: &[(&str, &str)] = &[
    ("whoever|nobody|somebody", "name the component or the person: the client, the worker, the operator"),
    ("someone else's", "name the owner"),
    ("those|that who", "name the component or the person"),
    ("whatever becomes", "say what happens"),
    ("what became|becomes of", "say what happened"),
    ("is|are|was|were|been|be|not told", "use `receives`, `reports` or `returns`"),
    ("told of|about|to", "use `reported` or `configured`"),
    ("what is to be", "name the thing"),
    ("to be had", "use `available`"),
    ("has its say|word", "say who decides"),
    ("no say", "say who decides"),
    ("come|comes|came of it|that", "name the result"),
    ("the|a|its books", "use `the ledger`"),
    ("of its own accord", "use `automatically`"),
    ("but for what", "use `except`"),
    ("goes by", "use `uses` or `follows`"),
    ("stand|stands in for", "use `replaces`"),
    ("in the way", "name the obstacle"),
    ("let|lets in", "use `accept` or `admit`"),
    ("let|lets him|her|others|it in", "use `accept` or `admit`"),
    ("is|are there already", "use `exists`"),
    ("there is nothing here", "name what was not found"),
    ("at the most", "use `at most`"),
    ("is no setting|parameter|number|rate|budget", "use `is not a …`"),
    ("once more", "use `again`"),
    ("all the same", "use `anyway` or leave it out"),
    ("as they|it must be", "name the rule"),
    ("good key", "use `valid API key`"),
    ("more may not", "name the limit"),
    ("as many * as may", "name the limit"),
    ("what cannot|can|must|is|was|it * is|are|goes|comes", "name the thing"),
];

/// Separates words that do not belong to one clause.
const BREAK: &str = ".";

/// Checks every document and every user-visible text of the repository.
pub(crate) fn check() -> Result<()> {
    let listed =
        output(program("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut found = Vec::new();
    for name in listed.split('\0').filter(|name| is_checked(name)) {
        let path = root().join(name);
        // A file that was removed and not yet committed.
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {name}"))?;
        let texts = if has_extension(name, "rs") { user_texts(&text) } else { vec![(1, text)] };
        let hits = texts.iter().flat_map(|(line, text)| hits(text, *line));
        found.extend(hits.map(|hit| format!("{name}:{}: `{}`: {}", hit.line, hit.phrase, hit.advice)));
    }
    if !found.is_empty() {
        bail!("unclear phrases (docs/STYLE.md has the rules):\n  {}", found.join("\n  "));
    }
    Ok(())
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

fn is_checked(name: &str) -> bool {
    let is_document = ["md", "toml", "yaml", "yml"].iter().any(|extension| has_extension(name, extension));
    let is_test = name.contains("/tests/")
        || name.ends_with("/tests.rs")
        || name.contains("/benches/")
        || name.starts_with("crates/testing/");
    let is_product = name.starts_with("crates/") && has_extension(name, "rs") && !is_test;
    (is_document && !name.ends_with(".zh-CN.md")) || is_product || name == "openapi.json"
}

/// A phrase that was found.
struct Hit {
    /// Line of its first word, from 1.
    line: usize,
    phrase: String,
    advice: &'static str,
}

/// A row of [`PHRASES`]: the allowed words at each position.
struct Pattern {
    positions: Vec<Vec<&'static str>>,
    advice: &'static str,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let positions =
        |phrase: &'static str| phrase.split(' ').map(|position| position.split('|').collect()).collect();
    PHRASES.iter().map(|(phrase, advice)| Pattern { positions: positions(phrase), advice }).collect()
});

/// The phrases in a text that begins at `first_line`. A phrase may continue on the next line.
fn hits(text: &str, first_line: usize) -> Vec<Hit> {
    let words = words(text, first_line);
    let mut found = Vec::new();
    for Pattern { positions, advice } in PATTERNS.iter() {
        for window in words.windows(positions.len()) {
            let is_match = window.iter().zip(positions).all(|((_, word), allowed)| {
                word != BREAK && (allowed == &["*"] || allowed.contains(&word.as_str()))
            });
            if is_match {
                let phrase: Vec<&str> = window.iter().map(|(_, word)| word.as_str()).collect();
                found.push(Hit { line: window[0].0, phrase: phrase.join(" "), advice });
            }
        }
    }
    found
}

/// The words of a text in lower case, each with its line, and [`BREAK`] between clauses, cells and paragraphs.
fn words(text: &str, first_line: usize) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (line_number, line) in (first_line..).zip(text.split('\n')) {
        let mut word = String::new();
        // The space ends the last word.
        for c in line.chars().chain([' ']) {
            if c.is_alphanumeric() || matches!(c, '\'' | '’') {
                word.extend(c.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                words.push((line_number, std::mem::take(&mut word)));
            }
            if matches!(c, '.' | '!' | '?' | ';' | ':' | ',' | '(' | ')' | '`' | '"' | '|') {
                words.push((line_number, BREAK.to_owned()));
            }
        }
        if line.trim().is_empty() {
            words.push((line_number, BREAK.to_owned()));
        }
    }
    words
}

/// The string literals of Rust source outside its test module, and its doc comments if it defines a command
/// line.
fn user_texts(source: &str) -> Vec<(usize, String)> {
    let source = match source.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => &source[..tests],
        None => source,
    };
    let is_command_line = ["clap::Args", "clap::Parser", "clap::{", "derive(Parser", "derive(Args"]
        .iter()
        .any(|mark| source.contains(mark));
    let mut texts = Vec::new();
    let mut rest = source;
    let line_of = |rest: &str| source[..source.len() - rest.len()].matches('\n').count() + 1;
    while let Some(start) = rest.find(['"', '/', '\'']) {
        let line = line_of(&rest[start..]);
        let (before, token) = rest.split_at(start);
        let end = match token.as_bytes() {
            [b'/', b'/', ..] => {
                let end = token.find('\n').unwrap_or(token.len());
                if is_command_line && token.starts_with("///") {
                    texts.push((line, token[3..end].to_owned()));
                }
                end
            }
            [b'"', ..] => {
                let (text, end) = literal(before, token);
                texts.push((line, text));
                end
            }
            // A character, or the mark of a lifetime.
            [b'\'', b'\\', ..] => token[2..].find('\'').map_or(token.len(), |at| at + 3),
            [b'\'', ..] => {
                token.char_indices().nth(2).filter(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1)
            }
            _ => 1,
        };
        rest = &token[end..];
    }
    texts
}

/// The text of the literal that `token` begins with, and where it ends; `before` tells whether it is a raw
/// one.
fn literal(before: &str, token: &str) -> (String, usize) {
    let hashes = before.len() - before.trim_end_matches('#').len();
    if before.trim_end_matches('#').ends_with('r') {
        let close = format!("\"{}", "#".repeat(hashes));
        let end = token[1..].find(&close).map_or(token.len(), |at| at + 1 + close.len());
        return (token[1..end.saturating_sub(close.len()).max(1)].to_owned(), end);
    }
    let mut text = String::new();
    let mut characters = token.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => match characters.next() {
                Some((_, '\n')) => while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                _ => text.push('.'),
            },
            c => text.push(c),
        }
    }
    (text, token.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(text: &str) -> Vec<String> {
        hits(text, 1).into_iter().map(|hit| hit.phrase).collect()
    }

    #[test]
    fn unclear_phrases_are_found_whatever_their_case_and_spacing() {
        assert_eq!(phrases("Whoever comes late is  told so"), ["whoever", "is told"]);
        assert_eq!(phrases("what cannot fit is left"), ["what cannot fit is"]);
        assert_eq!(phrases("The request is invalid. Told to the client: nothing."), ["told to"]);
        assert_eq!(phrases("the ledger is unavailable, told"), [] as [&str; 0]);
    }

    #[test]
    fn only_texts_for_users_are_read_from_rust() {
        let source = "// nobody\nfn f<'a>(c: &'a str) { let q = '\"'; bail!(\"nobody \\\n   asked\"); r#\"some\"body\"#; }\n\
                      #[cfg(test)]\nmod tests {\n const X: &str = \"whoever\"; }";
        assert_eq!(user_texts(source), [(2, "nobody asked".to_owned()), (3, "some\"body".to_owned())]);
        let help = "use clap::Args;\n/// Told to the user.\nstruct A;";
        assert_eq!(user_texts(help), [(2, " Told to the user.".to_owned())]);
    }

    #[test]
    fn a_phrase_may_span_two_lines_of_a_document() {
        let found = hits("this is to be\nhad", 1);
        assert_eq!(found.len(), 1);
        let found = hits("say\nwhat is\nto be done", 5);
        assert_eq!((found.len(), found[0].line), (1, 6));
        assert!(hits("this is to be\n\nhad", 1).is_empty(), "another paragraph");
    }

    #[test]
    fn the_repository_follows_the_rules() {
        check().expect("no unclear phrase");
    }
}
