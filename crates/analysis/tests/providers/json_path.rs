//! JSONPaths and bodies that mean harm, or nothing: no panic, the same answer twice, and short words. More cases than by
//! default: `PROPTEST_CASES=1000000 cargo test -p okra-analysis --test providers json_path`.

use okra_analysis::read_web_answer;
use proptest::prelude::*;

#[path = "../../../../fuzz/entries/json_path.rs"]
mod fuzzed;

/// The seeds of the fuzz target.
fn seeds() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/json_path");
    std::fs::read_dir(folder).unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect()
}

#[test]
fn seeds_of_the_fuzz_target_find_something() {
    let seeds = seeds();
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
    /// What the fuzz target does, with seeds that are cut, doubled, spliced and spoiled.
    #[test]
    fn spoiled_seeds_never_panic(
        (one, two) in (prop::sample::select(seeds()), prop::sample::select(seeds())),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..12),
        times in 1..40_usize,
    ) {
        let mut data = one;
        for (at, byte, edit) in edits {
            let at = at.index(data.len() + 1);
            match edit {
                0 => data.truncate(at),
                1 => data.insert(at, byte),
                2 => data.splice(at.., two.iter().copied().skip(at)).for_each(drop),
                _ => {
                    let piece = data[at..data.len().min(at + 6)].to_vec();
                    data.splice(at..at, piece.repeat(times));
                }
            }
        }
        fuzzed::json_path(&data);
    }

    #[test]
    fn random_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzed::json_path(&data);
    }
}
