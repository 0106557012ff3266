//! The condition language of AnalysisTemplates.
#![no_main]

#[path = "../entries/condition.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::condition(data));
