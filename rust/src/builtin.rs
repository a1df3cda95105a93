//! The text that comes with swage: examples/text, whose README says where it is from.

/// JSON lines to calibrate on, or those kept apart for evaluation.
pub fn builtin_text(held_out: bool) -> &'static [u8] {
    if held_out {
        include_bytes!("../../examples/text/heldout.jsonl")
    } else {
        include_bytes!("../../examples/text/calibration.jsonl")
    }
}
