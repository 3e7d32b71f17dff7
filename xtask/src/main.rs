//! The project's own toolbox: `cargo xtask test | lint | bench | …`.

fn main() {}
