//! A short name for the state of a rule.
//!
//! The format is stable: fingerprints stand in the status of route objects and outlive a release. It is the
//! 64-bit FNV-1a hash, as 16 lower-case hex digits, of this text, each part followed by a line feed:
//!
//! ```text
//! v1
//! priority=<number>
//! host=<value>            each value of each condition, sorted; then path=, method=, source=,
//! header=<name>:<value>   query=<key>=<value>, other=<text>
//! weight=<id>=<number>    each target group, sorted by id
//! sticky=<on|off>:<seconds>   only when stickiness counts
//! ```
//!
//! Backslash and line feed within a value are written as `\\` and `\n`, so that no value can imitate another line.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Conditions, Sticky};

/// Offset basis and prime of 64-bit FNV-1a (draft-eastlake-fnv, section 5).
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The fingerprint of a rule's state. Equal states have equal fingerprints, whatever the order of their
/// conditions. Without `stickiness` it does not count: the intent leaves it to others.
pub fn fingerprint(
    priority: i32,
    conditions: &Conditions,
    weights: &BTreeMap<String, i32>,
    stickiness: Option<Sticky>,
) -> String {
    let hash = canonical(priority, conditions, weights, stickiness)
        .bytes()
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}

fn canonical(
    priority: i32,
    conditions: &Conditions,
    weights: &BTreeMap<String, i32>,
    stickiness: Option<Sticky>,
) -> String {
    let conditions = conditions.clone().canonical();
    let mut text = format!("v1\npriority={priority}\n");
    let lists = [
        ("host", &conditions.hosts),
        ("path", &conditions.path_patterns),
        ("method", &conditions.methods),
        ("source", &conditions.source_ips),
    ];
    for (name, values) in lists {
        for value in values {
            line(&mut text, name, value);
        }
    }
    for (header, values) in &conditions.headers {
        for value in values {
            line(&mut text, "header", &format!("{header}:{value}"));
        }
    }
    for (key, value) in &conditions.query_strings {
        line(&mut text, "query", &format!("{key}={value}"));
    }
    for other in &conditions.other {
        line(&mut text, "other", other);
    }
    for (id, weight) in weights {
        line(&mut text, "weight", &format!("{id}={weight}"));
    }
    if let Some(sticky) = stickiness.map(Sticky::normal) {
        let state = if sticky.enabled { "on" } else { "off" };
        line(&mut text, "sticky", &format!("{state}:{}", sticky.seconds));
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let value = value.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name}={value}");
}

impl Sticky {
    /// The same, with 0 seconds when it is off: a duration that does not count is no difference.
    #[must_use]
    pub fn normal(self) -> Self {
        if self.enabled { self } else { Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(pairs: &[(&str, i32)]) -> BTreeMap<String, i32> {
        pairs.iter().map(|(id, weight)| ((*id).to_owned(), *weight)).collect()
    }

    #[test]
    fn the_format_is_stable() {
        let conditions = Conditions {
            hosts: vec!["b.example.com".into(), "A.example.com".into()],
            headers: BTreeMap::from([("X-Env".into(), vec!["b".into(), "a".into()])]),
            query_strings: vec![("q".into(), "1".into())],
            ..Conditions::default()
        };
        let sticky = Some(Sticky { enabled: true, seconds: 60 });
        let text = canonical(10, &conditions, &weights(&[("arn:2", 20), ("arn:1", 80)]), sticky);
        assert_eq!(
            text,
            "v1\npriority=10\nhost=a.example.com\nhost=b.example.com\nheader=x-env:a\nheader=x-env:b\nquery=q=1\n\
             weight=arn:1=80\nweight=arn:2=20\nsticky=on:60\n"
        );
        let empty = fingerprint(0, &Conditions::default(), &BTreeMap::new(), None);
        assert_eq!(empty.len(), 16);
        // FNV-1a of "v1\npriority=0\n": changing this line changes what every status in the field means.
        assert_eq!(empty, "74a57827751bb00f");
    }

    #[test]
    fn order_and_case_of_hosts_do_not_count_but_values_do() {
        let one = Conditions { hosts: vec!["a.x".into(), "B.x".into()], ..Conditions::default() };
        let two = Conditions { hosts: vec!["b.x".into(), "a.x".into()], ..Conditions::default() };
        let held = weights(&[("a", 1)]);
        assert_eq!(fingerprint(1, &one, &held, None), fingerprint(1, &two, &held, None));
        assert_ne!(fingerprint(1, &one, &held, None), fingerprint(2, &one, &held, None));
        assert_ne!(fingerprint(1, &one, &held, None), fingerprint(1, &one, &weights(&[("a", 2)]), None));
        let path = |path: &str| Conditions { path_patterns: vec![path.into()], ..Conditions::default() };
        assert_ne!(fingerprint(1, &path("/A"), &held, None), fingerprint(1, &path("/a"), &held, None));
    }

    #[test]
    fn stickiness_counts_only_when_given_and_its_duration_only_when_on() {
        let held = weights(&[("a", 1)]);
        let of = |sticky| fingerprint(1, &Conditions::default(), &held, sticky);
        let off = |seconds| Some(Sticky { enabled: false, seconds });
        assert_eq!(of(off(0)), of(off(60)));
        assert_ne!(of(off(0)), of(None));
        assert_ne!(of(off(0)), of(Some(Sticky { enabled: true, seconds: 60 })));
    }

    #[test]
    fn a_value_cannot_imitate_another_line() {
        let one = Conditions { hosts: vec!["a\nweight=x=1".into()], ..Conditions::default() };
        let two = Conditions { hosts: vec!["a".into()], ..Conditions::default() };
        assert_ne!(fingerprint(1, &one, &BTreeMap::new(), None), fingerprint(1, &two, &weights(&[("x", 1)]), None));
    }
}
