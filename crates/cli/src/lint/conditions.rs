//! Conditions, checked against the Go type that the provider's result will have, as okra checks them at each
//! measurement.

use okra_api::analysis::{Metric, PrometheusMetric, WebMetric};
use okra_core::analysis::parse_duration;
use okra_expr::{Environment, Program, Shape};

use super::{Sink, metrics::Values};

/// What an argument that only the caller knows may be: if one of these fits, the condition is right for some value.
const SAMPLES: [&str; 3] = ["1", "true", "text"];
/// Conditions with more such arguments are not checked.
const MOST_SAMPLES: usize = 3;

/// What a provider's result may be.
struct Results {
    provider: &'static str,
    shapes: Vec<Shape>,
    /// In words, as what the provider gives.
    words: &'static str,
}

impl Results {
    fn new(provider: &'static str, shapes: Vec<Shape>, words: &'static str) -> Self {
        Self { provider, shapes, words }
    }
}

/// None for providers that do not ask the conditions.
fn results(metric: &Metric) -> Option<Results> {
    let provider = &metric.provider;
    Some(if let Some(prometheus) = &provider.prometheus {
        if may_be_scalar(prometheus) {
            let shapes = vec![Shape::numbers(), Shape::number()];
            Results::new("prometheus", shapes, "a list of numbers, or one number for a scalar")
        } else {
            Results::new("prometheus", vec![Shape::numbers()], "a list of numbers")
        }
    } else if let Some(datadog) = &provider.datadog {
        let queries = datadog.queries.values().chain([&datadog.query]);
        let grouped = datadog.api_version == "v2" && queries.into_iter().any(|query| query.contains(" by "));
        let (shape, words) = if grouped {
            (Shape::numbers(), "a list of numbers, one for each group")
        } else {
            (Shape::number(), "one number")
        };
        Results::new("datadog", vec![shape], words)
    } else if provider.cloud_watch.is_some() {
        Results::new(
            "cloudWatch",
            vec![Shape::cloud_watch()],
            "a list with one entry for each query, whose numbers are in .Values",
        )
    } else if provider.new_relic.is_some() {
        let shapes = vec![Shape::new_relic_row(), Shape::new_relic_rows()];
        Results::new("newRelic", shapes, "a row with names, or a list of rows")
    } else if provider.wavefront.is_some() {
        Results::new("wavefront", vec![Shape::number(), Shape::numbers()], "one number, or a list of them")
    } else if provider.graphite.is_some() {
        Results::new("graphite", vec![Shape::numbers()], "a list of numbers")
    } else if provider.influxdb.is_some() {
        Results::new("influxdb", vec![Shape::list()], "a list")
    } else if provider.skywalking.is_some() {
        Results::new("skywalking", vec![Shape::object()], "an object with names")
    } else if provider.web.is_some() {
        Results::new("web", vec![Shape::unknown()], "what the JSON of the answer holds")
    } else {
        return None;
    })
}

/// An instant query that gives one number instead of a list.
fn may_be_scalar(metric: &PrometheusMetric) -> bool {
    let query = metric.query.trim();
    let scalars = ["scalar(", "time()", "pi()"];
    let is_number = !query.chars().any(char::is_alphabetic);
    metric.range_query.is_none()
        && (query.starts_with("{{") || is_number || scalars.iter().any(|word| query.contains(word)))
}

pub(super) fn check(metric: &Metric, at: &str, values: &Values, sink: &mut Sink<'_>) {
    if metric.provider.plugin.is_some() {
        let fix = "measure with another provider, or hand runs to Argo Rollouts: okrad --analysis-engine=argo";
        sink.error(
            format!("{at}.provider.plugin"),
            "plugins of Argo Rollouts are Go programs that okra does not run",
            fix,
        );
    }
    if let Some(prometheus) = &metric.provider.prometheus {
        range(prometheus, at, values, sink);
    }
    if let Some(web) = &metric.provider.web {
        request(web, at, sink);
    }
    let Some(results) = results(metric) else { return };
    let conditions = [("successCondition", &metric.success_condition), ("failureCondition", &metric.failure_condition)];
    for (name, condition) in conditions.into_iter().filter(|(_, condition)| !condition.is_empty()) {
        let at = format!("{at}.{name}");
        let variants = variants(condition, values);
        if let Some(error) = misfit(&variants, &results.shapes) {
            let message = format!("{error}; {} gives {}", results.provider, results.words);
            sink.error(at, message, remedy(condition, &results, values));
            continue;
        }
        habits(condition, &at, sink);
    }
}

/// The condition with samples for what only the caller knows; none for too many of them.
fn variants(condition: &str, values: &Values) -> Vec<String> {
    let open: Vec<&str> = values.open_in(condition).into_iter().collect();
    if open.len() > MOST_SAMPLES {
        return Vec::new();
    }
    let mut choices: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
    for name in open {
        let mut longer = Vec::new();
        for choice in &choices {
            for sample in SAMPLES {
                longer.push(choice.iter().copied().chain([(name, sample)]).collect());
            }
        }
        choices = longer;
    }
    choices.iter().map(|samples| values.fill(condition, samples)).collect()
}

/// What is wrong, if no variant fits any shape. It is said of the first of each.
fn misfit(variants: &[String], shapes: &[Shape]) -> Option<String> {
    let mut first = None;
    for variant in variants {
        for shape in shapes {
            match fits(variant, shape, Environment::Condition, "bool") {
                Ok(()) => return None,
                Err(error) => _ = first.get_or_insert(error),
            }
        }
    }
    first
}

fn fits(source: &str, shape: &Shape, environment: Environment, wanted: &str) -> Result<(), String> {
    let program = Program::compile_in(source, shape, environment).map_err(|error| error.message().to_owned())?;
    match program.gives() {
        Some(other) if other != wanted => Err(format!("expected {wanted}, but got {other}")),
        _ => Ok(()),
    }
}

/// The condition as it was probably meant, or how the result is to be used.
fn remedy(condition: &str, results: &Results, values: &Values) -> String {
    let tries = [
        replaced(condition, "result", "result[0]"),
        replaced(condition, "result[0]", "result"),
        replaced(condition, "result[0]", "result[0].Values[0]"),
        replaced(condition, "result", "result[0].Values[0]"),
        condition.replace("=<", "<=").replace("=>", ">="),
        format!("{condition} > 0"),
    ];
    let fits = |text: &&String| *text != condition && misfit(&variants(text, values), &results.shapes).is_none();
    if let Some(meant) = tries.iter().find(fits) {
        return format!("write {meant}");
    }
    let example = match results.provider {
        "cloudWatch" => "result[0].Values[0] < 0.05",
        "newRelic" | "web" => "result.rate >= 0.95",
        "skywalking" => "result.data != nil",
        "datadog" | "wavefront" => "result < 0.05",
        _ => "result[0] >= 0.95",
    };
    format!("write a condition like {example}")
}

/// A text with a word replaced where it stands by itself.
fn replaced(text: &str, word: &str, by: &str) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(word) {
        let joined = |c: char| c.is_alphanumeric() || c == '_';
        let part_of_more =
            before.ends_with(|c| joined(c) || c == '.') || after.starts_with(|c| joined(c) || c == '[' || c == '.');
        done.push_str(before);
        done.push_str(if part_of_more { word } else { by });
        rest = after;
    }
    done.push_str(rest);
    done
}

/// What compiles, and hardly means what it says.
fn habits(condition: &str, at: &str, sink: &mut Sink<'_>) {
    if !condition.contains("result") && !condition.contains("isNil(") && !condition.contains("default(") {
        sink.warning(at, "it does not look at result: each measurement comes out the same", "compare result");
    }
    for (function, end) in [("default(", ','), ("isNil(", ')')] {
        for after in condition.split(function).skip(1) {
            let of = after.split(end).next().unwrap_or_default().trim();
            if of != "result" {
                let name = function.trim_end_matches('(');
                sink.warning(
                    at,
                    format!("{name} looks at the whole result, whatever {of} is: a quirk of Argo Rollouts"),
                    if name == "default" { format!("write ({of} ?? ...)") } else { format!("write {of} == nil") },
                );
            }
        }
    }
}

/// Start, end and step of a range query.
fn range(prometheus: &PrometheusMetric, at: &str, values: &Values, sink: &mut Sink<'_>) {
    let Some(range) = &prometheus.range_query else { return };
    let at = format!("{at}.provider.prometheus.rangeQuery");
    for (name, text) in [("start", &range.start), ("end", &range.end)] {
        let field = format!("{at}.{name}");
        if values.is_open(text) {
            continue;
        }
        if let Err(error) = fits(&values.fill(text, &[]), &Shape::nil(), Environment::Time, "time.Time") {
            sink.error(field, error, "write a time such as now() or now() - duration(\"1h\")");
        }
    }
    if !values.is_open(&range.step)
        && let Err(error) = parse_duration(&values.fill(&range.step, &[]))
    {
        sink.error(format!("{at}.step"), error.to_string(), "write a duration such as 1m");
    }
}

/// A request that is refused before it is sent, and a path that is none.
fn request(web: &WebMetric, at: &str, sink: &mut Sink<'_>) {
    let at = format!("{at}.provider.web");
    if !web.json_path.is_empty() && !web.json_path.contains('{') {
        let path = web.json_path.trim_start_matches("$.").trim_start_matches('.');
        let fix = format!("write {{$.{path}}}");
        sink.error(format!("{at}.jsonPath"), "a path without braces stands for its own text", fix);
    }
    let has_body = !web.body.is_empty() || web.json_body.is_some();
    if !web.body.is_empty() && web.json_body.is_some() {
        sink.error(&at, "use either Body or JSONBody; both cannot exists for WebMetric payload", "keep one of them");
    } else if has_body && matches!(web.method.as_str(), "" | "GET") {
        let message = "Body/JSONBody can only be used with POST or PUT WebMetric Method types";
        sink.error(format!("{at}.method"), message, "write method: POST, or remove the body");
    }
}
