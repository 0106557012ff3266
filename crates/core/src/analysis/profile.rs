//! Named profiles of metrics: chosen by annotations on templates and runs, so that specs stay as Argo has them.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::{analysis::AnalysisTemplateRef, names::METRIC_PROFILE_ANNOTATION};

/// What the part of an annotation's key behind the `/` may hold, at most.
const LONGEST_NAME: usize = 63;

/// Annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// The profile that annotations choose for a metric; none: the default one.
pub fn metric_profile(annotations: &Annotations, metric: &str) -> Option<String> {
    let named = |key: &str| annotations.get(key).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    named(&key_of(metric)).or_else(|| named(METRIC_PROFILE_ANNOTATION))
}

fn key_of(metric: &str) -> String {
    format!("{METRIC_PROFILE_ANNOTATION}.{metric}")
}

/// The annotations of a run whose metrics come from these templates. An error in words when a metric's name fits in no
/// annotation and the metrics have different profiles.
pub fn profile_annotations<'a>(
    origins: &BTreeMap<String, AnalysisTemplateRef>,
    annotations_of: impl Fn(&AnalysisTemplateRef) -> Option<&'a Annotations>,
) -> Result<Annotations, String> {
    let profile = |(metric, template): (&String, &AnalysisTemplateRef)| {
        let chosen = annotations_of(template).and_then(|annotations| metric_profile(annotations, metric));
        (metric.clone(), chosen)
    };
    let profiles: BTreeMap<String, Option<String>> = origins.iter().map(profile).collect();
    let different: BTreeSet<&Option<String>> = profiles.values().collect();
    match different.into_iter().collect::<Vec<_>>().as_slice() {
        [] | [None] => Ok(Annotations::new()),
        [Some(all)] => Ok(Annotations::from([(METRIC_PROFILE_ANNOTATION.to_owned(), all.clone())])),
        _ => {
            let some = profiles.into_iter().filter_map(|(metric, profile)| Some((metric, profile?)));
            some.map(|(metric, profile)| Ok((checked_key(&metric)?, profile))).collect()
        }
    }
}

/// The API server refuses other keys of annotations.
fn checked_key(metric: &str) -> Result<String, String> {
    let key = key_of(metric);
    let name = key.split('/').next_back().unwrap_or_default();
    let fits = name.len() <= LONGEST_NAME
        && metric.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && metric.ends_with(|c: char| c.is_ascii_alphanumeric());
    if fits {
        return Ok(key);
    }
    Err(format!(
        "metric \"{metric}\" has a profile of its own, but its name fits in no annotation {METRIC_PROFILE_ANNOTATION}.\
         <metric>: name it with at most 48 letters, digits, '-', '_' and '.'"
    ))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        let key = |metric: &str| if metric.is_empty() { METRIC_PROFILE_ANNOTATION.to_owned() } else { key_of(metric) };
        pairs.iter().map(|(metric, profile)| (key(metric), (*profile).to_owned())).collect()
    }

    fn template(name: &str) -> AnalysisTemplateRef {
        AnalysisTemplateRef { template_name: name.to_owned(), cluster_scope: false }
    }

    fn carried(origins: &[(&str, &str)], templates: &[(&str, Annotations)]) -> Result<Annotations, String> {
        let origins = origins.iter().map(|(metric, name)| ((*metric).to_owned(), template(name))).collect();
        let of = |reference: &AnalysisTemplateRef| {
            templates.iter().find(|(name, _)| *name == reference.template_name).map(|(_, annotations)| annotations)
        };
        profile_annotations(&origins, of)
    }

    #[test]
    fn the_annotation_of_a_metric_wins() {
        let both = annotations(&[("", "west"), ("rate", "east"), ("empty", " ")]);
        assert_eq!(metric_profile(&both, "rate").as_deref(), Some("east"));
        assert_eq!(metric_profile(&both, "other").as_deref(), Some("west"));
        assert_eq!(metric_profile(&both, "empty").as_deref(), Some("west"));
        assert_eq!(metric_profile(&annotations(&[("rate", "east")]), "other"), None);
        assert_eq!(metric_profile(&annotations(&[("", "")]), "other"), None);
    }

    #[test]
    fn a_run_has_the_profiles_of_the_templates_that_its_metrics_come_from() {
        let west = || annotations(&[("", "west")]);
        assert_eq!(carried(&[], &[]), Ok(Annotations::new()));
        assert_eq!(carried(&[("a", "t")], &[("t", Annotations::new())]), Ok(Annotations::new()));
        assert_eq!(carried(&[("a", "t"), ("b b", "t")], &[("t", west())]), Ok(west()));
        assert_eq!(
            carried(&[("a", "t"), ("b", "u")], &[("t", west())]),
            Ok(annotations(&[("a", "west")])),
            "a template without a profile does not get that of another one"
        );
        let own = annotations(&[("", "west"), ("b", "east")]);
        assert_eq!(carried(&[("a", "t"), ("b", "t")], &[("t", own)]), Ok(annotations(&[("a", "west"), ("b", "east")])));
    }

    #[test]
    fn a_name_that_fits_in_no_annotation_is_refused() {
        for name in ["b b", "{{args.x}}", "b-", &"b".repeat(49)] {
            let why = carried(&[(name, "t"), ("a", "u")], &[("t", annotations(&[("", "west")]))]).unwrap_err();
            assert!(why.contains(name) && why.contains("at most 48"), "{why}");
        }
        let longest = "b".repeat(48);
        assert!(carried(&[(&longest, "t"), ("a", "u")], &[("t", annotations(&[("", "west")]))]).is_ok());
    }
}
