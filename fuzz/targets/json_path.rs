//! The JSONPath dialect of the web provider.
#![no_main]

#[path = "../entries/json_path.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::json_path(data));
