//! Names of output files.

use std::path::{Path, PathBuf};

use tintype_core::picture::Format;

/// Maximum number of characters of the prompt in a file name.
const MAX_PROMPT_CHARS: usize = 40;

/// A file name made of the prompt's letters and digits and the seed: `a-cyborg-tiger-42.jpg`.
pub(super) fn name(prompt: &str, seed: u64, format: Format) -> String {
    let mut slug = String::new();
    for character in prompt.chars() {
        if character.is_alphanumeric() {
            slug.extend(character.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.chars().take(MAX_PROMPT_CHARS).collect();
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "picture" } else { slug };
    format!("{slug}-{seed}.{}", format.extension())
}

/// The path of `--output`, with a number if there are several images: `tiger-2.png`.
pub(super) fn numbered(path: &Path, number: Option<usize>) -> PathBuf {
    let Some(number) = number else { return path.to_owned() };
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_prompt() {
        for (prompt, expected) in [
            ("A cyborg tiger!", "a-cyborg-tiger-7.jpg"),
            ("../../etc/passwd", "etc-passwd-7.jpg"),
            ("老虎, 赛博", "老虎-赛博-7.jpg"),
            ("🐯", "picture-7.jpg"),
            (&"word ".repeat(20), "word-word-word-word-word-word-word-word-7.jpg"),
        ] {
            assert_eq!(name(prompt, 7, Format::Jpeg), expected, "{prompt}");
        }
    }

    #[test]
    fn several_images_are_numbered() {
        let path = Path::new("out/tiger.v1.png");
        assert_eq!(numbered(path, None), path);
        assert_eq!(numbered(path, Some(2)), Path::new("out/tiger.v1-2.png"));
        assert_eq!(numbered(Path::new("tiger"), Some(1)), Path::new("tiger-1"));
    }
}
