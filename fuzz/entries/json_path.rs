//! What is done with fuzzed bytes: a JSONPath up to the first line end, and after it the body that a server sent. The fuzz
//! target and a test on the stable toolchain share it.

/// More than any message holds, whatever it quotes.
const LONGEST_MESSAGE: usize = 16 << 10;

/// Looks a path up in a body. Panics when that is not the same twice, or says more than it may.
pub fn json_path(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (path, body) = data.split_at(end);
    let (path, body) = (String::from_utf8_lossy(path), body.get(1..).unwrap_or_default());
    let read = || {
        let outcome = okra_analysis::read_web_answer(&path, body);
        outcome.map(|sample| (sample.value, sample.result.type_name()))
    };
    let outcome = read();
    assert_eq!(outcome, read(), "the same path finds two values");
    let message = outcome.err().unwrap_or_default();
    assert!(message.len() <= LONGEST_MESSAGE, "a message of {} bytes", message.len());
}
