//! A build without the feature `bundled`: `cargo test --no-default-features --features cli --test cli without_a_model`.

use crate::desk::Desk;

#[test]
fn the_way_out_is_said_and_named_models_work() {
    let desk = Desk::with("width1");
    for job in ["extract hello", "extract -m bundled hello", "info", "compare hello world"] {
        desk.types(job).fails_as_wrong_usage().says_all(&["no model in it", "-m google-bert/bert-base-uncased"]);
    }
    desk.types("extract -m width1 hello").succeeds();
}
