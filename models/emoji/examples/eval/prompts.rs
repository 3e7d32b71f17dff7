//! The contact sheet of the model card.

use anyhow::Result;

use crate::artist::Artist;
use crate::report::say;
use crate::sheet::{Album, Sheet};

/// Things in both languages, pairs, things on a colour, and at the end two that the model cannot know.
const PROMPTS: [&str; 64] = [
    "a tiger",
    "a red apple",
    "a robot",
    "a rocket",
    "a house",
    "a volcano",
    "a guitar",
    "a dragon",
    "a panda",
    "a pizza",
    "a sunflower",
    "an octopus",
    "a cat face",
    "a bicycle",
    "a birthday cake",
    "a snowman",
    "机器人",
    "老虎",
    "火箭",
    "大象",
    "独角兽",
    "草莓",
    "彩虹",
    "城堡",
    "a fox",
    "an owl",
    "a penguin",
    "a butterfly",
    "a turtle",
    "a frog",
    "a lion",
    "a unicorn",
    "a hamburger",
    "a doughnut",
    "a banana",
    "a watermelon",
    "a strawberry",
    "a mushroom",
    "a cactus",
    "a rose",
    "an airplane",
    "a bus",
    "a sailboat",
    "a castle",
    "a camera",
    "a crown",
    "a light bulb",
    "a teddy bear",
    "smiling face with sunglasses",
    "a ghost",
    "an alien",
    "a skull",
    "a jack-o-lantern",
    "a red heart",
    "fire",
    "a star",
    "a robot and a tiger",
    "机器人和火箭",
    "a fox on a blue background",
    "黄色背景上的吉他",
    "a panda on a pink background",
    "绿色背景上的皇冠",
    "a cyborg tiger",
    "a photo of a rabbit eating a pizza",
];

/// Draws the prompts, each from the seed that is its place in the list.
pub(crate) fn draw(artist: &Artist, album: &mut Album) -> Result<()> {
    say("the card's sheet …");
    let mut sheet = Sheet::new("card", "Examples", 128);
    for (seed, prompt) in (0..).zip(PROMPTS) {
        sheet.add(artist.draw(prompt, seed)?, &format!("`{prompt}`"));
    }
    album.add(sheet, artist.model().width.max(artist.model().height))
}
