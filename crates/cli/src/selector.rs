//! Label selectors as kubectl takes them: `a=b,c!=d,e in (f,g),h,!i`.

use std::collections::BTreeMap;

use okra_api::{
    TargetGroupSelector,
    selector::{LabelOperator, LabelRequirement},
};

/// A label selector from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(TargetGroupSelector);

impl Selector {
    /// Whether these labels are selected.
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        match labels {
            Some(labels) => self.0.matches(labels),
            None => self.0.matches(&BTreeMap::new()),
        }
    }
}

impl std::str::FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let terms = terms(text)?;
        let match_expressions = terms.into_iter().map(requirement).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(TargetGroupSelector { match_expressions, ..TargetGroupSelector::default() }))
    }
}

/// Splits at the commas outside of parentheses.
fn terms(text: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    let (mut depth, mut rest, mut at) = (0_u32, text, 0);
    while let Some(next) = rest.get(at..).and_then(|tail| tail.find([',', '(', ')'])).map(|next| at + next) {
        match rest.as_bytes().get(next) {
            Some(b'(') => depth += 1,
            Some(b')') => depth = depth.checked_sub(1).ok_or_else(|| bad(text))?,
            _ if depth == 0 => {
                found.push(rest.get(..next).unwrap_or_default());
                rest = rest.get(next + 1..).unwrap_or_default();
                at = 0;
                continue;
            }
            _ => {}
        }
        at = next + 1;
    }
    found.push(rest);
    if depth == 0 { Ok(found) } else { Err(bad(text)) }
}

fn requirement(term: &str) -> Result<LabelRequirement, String> {
    let term = term.trim();
    let of = |key: &str, operator, values: Vec<String>| {
        let key = key.trim();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        if key.is_empty() || !key.chars().all(legal) {
            return Err(bad(term));
        }
        Ok(LabelRequirement { key: key.to_owned(), operator, values })
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = term.split_once("!=") {
        return of(key, LabelOperator::NotIn, one(value));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return of(key, LabelOperator::In, one(value));
    }
    for (word, operator) in [(" notin ", LabelOperator::NotIn), (" in ", LabelOperator::In)] {
        if let Some((key, set)) = term.split_once(word) {
            let inner = set.trim().strip_prefix('(').and_then(|set| set.strip_suffix(')')).ok_or_else(|| bad(term))?;
            return of(key, operator, inner.split(',').map(|value| value.trim().to_owned()).collect());
        }
    }
    match term.strip_prefix('!') {
        Some(key) => of(key, LabelOperator::DoesNotExist, Vec::new()),
        None => of(term, LabelOperator::Exists, Vec::new()),
    }
}

fn bad(text: &str) -> String {
    format!("\"{text}\" is not a label selector: write it like app=web,tier!=db,region in (a,b),!legacy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_as_kubectl_does() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("r/x".to_owned(), "a".to_owned())]);
        for (text, expected) in [
            ("app=web", true),
            ("app==web", true),
            ("app=web,r/x=b", false),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, api)", true),
            ("app notin (web,api),r/x", false),
            ("r/x", true),
            ("!r/x", false),
            ("!none, app in (web)", true),
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(Some(&labels)), expected, "{text}");
        }
        assert!("!app".parse::<Selector>().unwrap().matches(None));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "a=b,", "a in b", "a in (b", "a)", "=b", "a b", "!", "a in (b),,c"] {
            let error = text.parse::<Selector>().unwrap_err();
            assert!(error.contains("is not a label selector"), "{text}: {error}");
        }
    }
}
