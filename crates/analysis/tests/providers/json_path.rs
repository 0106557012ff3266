//! JSONPaths and bodies that mean harm, or nothing: no panic, the same answer twice, and short words. More cases than by
//! default: `PROPTEST_CASES=1000000 cargo test -p okra-analysis --test providers json_path`.

use okra_analysis::read_web_answer;
use proptest::prelude::*;

#[path = "../../../../fuzz/entries/json_path.rs"]
mod fuzzed;
#[path = "../../../../fuzz/spoiled.rs"]
mod spoiled;

#[test]
fn seeds_of_the_fuzz_target_find_something() {
    let seeds = spoiled::seeds("json_path");
    assert!(seeds.len() >= 4, "{}", seeds.len());
    for seed in &seeds {
        let text = String::from_utf8(seed.clone()).unwrap();
        let (path, body) = text.split_once('\n').unwrap();
        read_web_answer(path, body.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn hostile_paths_and_bodies_end() {
    let wide = format!("[{}1]", "1,".repeat(200_000));
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let text = format!("\"{}\"", "x".repeat(900_000));
    let paths = [
        "{".repeat(2000),
        "{..}".repeat(900),
        format!("{{{}}}", "..a".repeat(1000)),
        format!("{{{}}}", "[*]".repeat(1000)),
        format!("{{{}}}", "..*".repeat(300)),
        format!("{{.a{}}}", "[?(@.a".repeat(400)),
        format!("{{{}}}", "range .a}{".repeat(300)),
        format!("{{.a[{}]}}", "1,".repeat(1500)),
        "{.a[9223372036854775807:-9223372036854775808:-1]}".to_owned(),
        "{.a[0:9223372036854775807:1]}".to_owned(),
        "x".repeat(5000),
    ];
    for path in &paths {
        for body in [wide.as_str(), &deep, &text, "{\"a\": [[1], [2]]}", ""] {
            fuzzed::json_path(format!("{path}\n{body}").as_bytes());
        }
    }
}

proptest! {
    /// What the fuzz target does.
    #[test]
    fn spoiled_seeds_never_panic(data in spoiled::spoiled("json_path")) {
        fuzzed::json_path(&data);
    }

    #[test]
    fn random_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzed::json_path(&data);
    }
}
