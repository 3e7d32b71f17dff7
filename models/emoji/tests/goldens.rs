//! The shipped weights and the goldens that were written with them.

use std::path::Path;

use tintype_diffusion::ModelFiles;

#[path = "../examples/eval/goldens.rs"]
mod goldens;
#[path = "../examples/eval/sample.rs"]
mod sample;

#[test]
fn the_shipped_weights_draw_what_diffusers_draws() {
    let files = ModelFiles::embedded(tintype_emoji::FILES).expect("the embedded model");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    for golden in goldens::compare(&files, &folder).expect("the goldens belong to these weights") {
        let (prompt, off) = (golden.prompt, golden.mean_difference);
        assert!(off <= goldens::TOLERANCE, "`{prompt}` is off by {off} of 255 on average");
    }
}
