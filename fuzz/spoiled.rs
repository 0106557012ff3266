//! The seeds of a fuzz target, and what is made of them on the stable toolchain. Tests in `crates/NAME` include it.

use std::path::Path;

use proptest::prelude::*;

/// The seeds of a fuzz target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    std::fs::read_dir(folder).unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect()
}

/// Seeds of a fuzz target that are cut, doubled, spliced and spoiled.
pub fn spoiled(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seed = prop::sample::select(seeds(target));
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..12);
    (seed.clone(), seed, edits, 1..40_usize).prop_map(|(mut data, other, edits, times)| {
        for (at, byte, edit) in edits {
            let at = at.index(data.len() + 1);
            match edit {
                0 => data.truncate(at),
                1 => data.insert(at, byte),
                2 => data.splice(at.., other.iter().copied().skip(at)).for_each(drop),
                _ => {
                    let piece: Vec<u8> = data.iter().copied().skip(at).take(6).collect();
                    data.splice(at..at, piece.repeat(times));
                }
            }
        }
        data
    })
}
