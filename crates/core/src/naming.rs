//! Names and words that are made of what somebody else chose.

/// The longest words about one thing, in characters.
const LONGEST: usize = 500;

/// Why a value cannot stand in a label; Kubernetes' rules.
pub(crate) fn check_label(key: &str, value: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let is_legal =
        value.len() <= 63 && value.chars().all(inner) && ends(value.chars().next()) && ends(value.chars().next_back());
    if is_legal { Ok(()) } else { Err(format!("its label {key} would be \"{value}\", which is no value of a label")) }
}

/// A legal name of an object: EKS names may have capitals and underscores.
pub(crate) fn object_name(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(legal).take(240).collect();
    name.trim_matches(['-', '.']).to_owned()
}

/// FNV-1a: a short part of a name, the same on every machine.
pub(crate) fn short_hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A text of which no more than 500 characters are left.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain("...".chars()).collect()
    }
}
