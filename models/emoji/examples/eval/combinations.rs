//! Combinations that training never showed: two things that no caption names together, or a thing on a colour that it
//! never stood on. Whether they are right is for eyes to say.

use anyhow::Result;

use crate::artist::Artist;
use crate::references;
use crate::report::say;
use crate::sheet::{Album, Sheet};

/// Draws the prompts that `models/emoji/run references` chose, each from the seed that is its place in the list.
pub(crate) fn draw(artist: &Artist, album: &mut Album) -> Result<()> {
    say("combinations …");
    let prompts: Vec<String> = references::json("combinations.json")?;
    let mut sheet = Sheet::new("combinations", "Combinations that were not in training", 256);
    for (seed, prompt) in (0..).zip(&prompts) {
        sheet.add(artist.draw(prompt, seed)?, &format!("`{prompt}`"));
    }
    album.add(sheet, artist.model().width.max(artist.model().height))
}
