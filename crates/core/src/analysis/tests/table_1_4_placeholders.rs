use okra_api::analysis::{Argument, Metric};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::metric;
use crate::analysis::resolve_metric;

fn resolved(fields: Value, args: &[(&str, &str)]) -> Result<Metric, String> {
    let args: Vec<Argument> = args
        .iter()
        .map(|(name, value)| Argument { name: (*name).to_owned(), value: Some((*value).to_owned()), value_from: None })
        .collect();
    resolve_metric(&metric(fields), &args).map_err(|error| error.to_string())
}

#[test]
fn table_1_4_every_text_of_a_metric_is_looked_through() {
    let found = resolved(
        json!({
            "name": "{{args.x}}-rate", "interval": "{{args.n}}s", "initialDelay": "{{ args.n }}m", "count": "{{args.n}}",
            "failureLimit": "{{args.n}}", "successCondition": "result < {{args.n}} && '{{args.x}}' != ''",
            "provider": {"web": {
                "url": "http://{{args.x}}", "headers": [{"key": "{{args.x}}", "value": "{{args.dotted.name}}"}],
                "jsonBody": {"a": ["{{args.x}}"]},
            }},
        }),
        &[("x", "v"), ("n", "5"), ("dotted.name", "d")],
    );
    let wanted = metric(json!({
        "name": "v-rate", "interval": "5s", "initialDelay": "5m", "count": "5",
        "failureLimit": "5", "successCondition": "result < 5 && 'v' != ''",
        "provider": {"web": {
            "url": "http://v", "headers": [{"key": "v", "value": "d"}], "jsonBody": {"a": ["v"]},
        }},
    }));
    assert_eq!(found, Ok(wanted));
    let job =
        json!({"provider": {"job": {"spec": {"template": {"spec": {"containers": [{"image": "a:{{args.x}}"}]}}}}}});
    let found = resolved(job, &[("x", "1")]).unwrap();
    assert_eq!(found.provider.job.unwrap().spec["template"]["spec"]["containers"][0]["image"], "a:1");
}

#[test]
fn table_1_4_values_and_faults() {
    let condition = |text: &str, value: &str| {
        resolved(json!({"successCondition": text}), &[("x", value)]).map(|metric| metric.success_condition)
    };
    let ok = |text: &str| Ok(text.to_owned());
    let error = |text: &str| Err(text.to_owned());
    assert_eq!(condition("no placeholder", "v"), ok("no placeholder"));
    assert_eq!(condition("{{ \targs.x }}", "v"), error("failed to resolve {{ \\targs.x }}"));
    assert_eq!(condition("{{  args.x  }}", "v"), ok("v"));
    assert_eq!(
        condition("{{args.x}}", "line\n\"quoted\" \\ tab\t é 日本 😀"),
        ok("line\n\"quoted\" \\ tab\t é 日本 😀")
    );
    assert_eq!(condition("{{args.x}}", "<b>&"), ok("<b>&"));
    assert_eq!(condition("{{args.x}}", "\u{a0}\u{200b}"), ok("\u{a0}\u{200b}"), "\\u escapes are JSON");
    assert_eq!(condition("{{args.x}}", "{{args.x}}"), ok("{{args.x}}"), "one pass only");
    for (text, wanted) in [
        ("{{args.y}}", "failed to resolve {{args.y}}"),
        ("{{ args.y }} {{ other }}", "failed to resolve {{ other }}"),
        ("{{ $labels.pod }}", "failed to resolve {{ $labels.pod }}"),
        ("{{a<b}}", "failed to resolve {{a\\u003cb}}"),
        ("{{{args.x}}}", "failed to resolve {{{args.x}}"),
        ("{{}}", "failed to resolve {{}}"),
        ("{{args.x} }}", "failed to resolve {{args.x} }}"),
    ] {
        assert_eq!(condition(text, "v"), error(wanted));
    }
    for (value, wanted) in [
        ("\u{7}", "invalid character 'a' in string escape code"),
        ("\u{b}", "invalid character 'v' in string escape code"),
        ("\u{1b}", "invalid character 'x' in string escape code"),
        ("\u{7f}", "invalid character 'x' in string escape code"),
        ("\u{e0001}", "invalid character 'U' in string escape code"),
    ] {
        assert_eq!(condition("{{args.x}}", value), error(wanted));
        assert_eq!(condition("unused", value), ok("unused"));
    }
    // What has no end swallows JSON up to the next one, which here ends the provider.
    let swallowed = condition("{{args.x", "v").unwrap_err();
    assert!(swallowed.starts_with("failed to resolve {{args.x\",\"provider\":{\"web\":{\"url\""), "{swallowed}");
    let found = resolved(json!({"successCondition": "{{args.x", "provider": {}}), &[("x", "v")]).unwrap_err();
    assert_eq!(found, "failed to resolve {{args.x\",\"provider\":{}}", "the ends of two objects count as one");
    let no_end = json!({"successCondition": "{{args.x", "provider": {}, "consecutiveSuccessLimit": 1});
    assert_eq!(
        resolved(no_end, &[]).unwrap_err(),
        r#"Cannot find end tag="}}" in the template="{\"name\":\"m\",\"successCondition\":\"{{args.x\",\"provider\":{},\"consecutiveSuccessLimit\":1}" starting from "args.x\",\"provider\":{},\"consecutiveSuccessLimit\":1}""#
    );
}
