//! tintype: a prompt goes in, a picture is made, and a signed link to it comes back.

fn main() {}
