//! Versions of clusters, as their labels say them.

use std::{cmp::Ordering, fmt};

/// A version. It keeps the text it was read from, and compares by meaning: `v2` equals `2.0.0`.
///
/// Semver, more forgiving: a leading `v` is tolerated, missing parts are zeros, build metadata does not count.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    semver: semver::Version,
}

/// A text that is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a version: write it like 1.2.3, v2 or 1.25-rc.1")]
pub struct VersionError(String);

/// Reads a version.
pub fn parse(text: &str) -> Result<Version, VersionError> {
    let error = || VersionError(text.chars().take(64).collect());
    if text.len() > 128 {
        return Err(error());
    }
    let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let cut = bare.find(['-', '+']).unwrap_or(bare.len());
    let (numbers, rest) = bare.split_at_checked(cut).ok_or_else(error)?;
    let missing = 3_usize.checked_sub(numbers.split('.').count()).ok_or_else(error)?;
    let full = format!("{numbers}{}{rest}", ".0".repeat(missing));
    let mut semver = semver::Version::parse(&full).map_err(|_| error())?;
    semver.build = semver::BuildMetadata::EMPTY;
    Ok(Version { text: text.to_owned(), semver })
}

impl Version {
    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.semver == other.semver
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.semver.cmp(&other.semver)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("v2", "2.0.0", Ordering::Equal)]
    #[case("1.25", "1.25.0", Ordering::Equal)]
    #[case("1.10.0", "1.9.9", Ordering::Greater)]
    #[case("2.0.0-rc.1", "2.0.0", Ordering::Less)]
    #[case("v2-rc.2", "2.0.0-rc.10", Ordering::Less)]
    #[case("1.0.0+a", "1.0.0+b", Ordering::Equal)]
    fn compares_by_meaning(#[case] a: &str, #[case] b: &str, #[case] expected: Ordering) {
        assert_eq!(parse(a).unwrap().cmp(&parse(b).unwrap()), expected);
        assert_eq!(parse(a).unwrap().as_str(), a);
    }

    #[rstest]
    #[case("")]
    #[case("v")]
    #[case("latest")]
    #[case("1.2.3.4")]
    #[case("1..2")]
    #[case("01.2.3")]
    #[case("-1")]
    #[case("99999999999999999999.0.0")]
    fn refuses_what_is_no_version(#[case] text: &str) {
        assert!(parse(text).unwrap_err().to_string().contains("is not a version"));
    }
}
