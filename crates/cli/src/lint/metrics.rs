//! Metrics: what Argo's validation says of them, with its words, and what their limits and conditions come to.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use okra_api::analysis::{Argument, Metric};
use okra_core::analysis::{MetricFault, resolve_metric, validate_metric};

use super::{
    Sink, conditions, limits,
    placeholders::args_of,
    subject::{Family, Subject, Templates},
};

const PROVIDERS: &str =
    "prometheus, web, datadog, cloudWatch, job, newRelic, graphite, influxdb, wavefront, skywalking, kayenta";

/// What stands for an argument that only the caller knows.
const SAMPLE: &str = "1";

/// What is known of the arguments before there is a caller.
pub(super) struct Values {
    /// Each with its value, or with a sample.
    filled: Vec<Argument>,
    /// Names of those that are samples.
    open: BTreeSet<String>,
}

impl Values {
    pub(super) fn of(family: &Family<'_>) -> Self {
        let mut values = Self { filled: Vec::new(), open: BTreeSet::new() };
        for arg in family.specs.iter().flat_map(|spec| &spec.args) {
            if values.filled.iter().any(|known| known.name == arg.name) {
                continue;
            }
            // A Secret wins over a value.
            let known = arg.value.clone().filter(|_| arg.value_from.is_none());
            if known.is_none() {
                values.open.insert(arg.name.clone());
            }
            let value = Some(known.unwrap_or_else(|| SAMPLE.to_owned()));
            values.filled.push(Argument { name: arg.name.clone(), value, value_from: None });
        }
        values
    }

    /// Whether a text holds what only the caller knows.
    pub(super) fn is_open(&self, text: &str) -> bool {
        args_of(text).any(|name| self.open.contains(name))
    }

    /// Names of the arguments in a text that only the caller knows.
    pub(super) fn open_in<'a>(&self, text: &'a str) -> BTreeSet<&'a str> {
        args_of(text).filter(|name| self.open.contains(*name)).collect()
    }

    /// The text with every placeholder replaced; `samples` are for those that only the caller knows.
    pub(super) fn fill(&self, text: &str, samples: &[(&str, &str)]) -> String {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, from)) = rest.split_once("{{") {
            let Some((tag, after)) = from.split_once("}}") else { break };
            let name = tag.trim().strip_prefix("args.").unwrap_or_default();
            let sample = samples.iter().find(|(known, _)| *known == name).map(|(_, sample)| *sample);
            let known = self.filled.iter().find(|arg| arg.name == name).and_then(|arg| arg.value.as_deref());
            filled.push_str(before);
            filled.push_str(sample.or(known).unwrap_or(SAMPLE));
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

pub(super) fn check(subject: &Subject<'_>, templates: &Templates, sink: &mut Sink<'_>) {
    let spec = &subject.spec;
    if spec.metrics.is_empty() && spec.templates.is_empty() {
        sink.error("spec.metrics", "no metrics specified", "add a metric, or refer to a template that has some");
    }
    let values = Values::of(&templates.family(subject));
    let mut names = BTreeSet::new();
    for (index, metric) in spec.metrics.iter().enumerate() {
        let at = format!("spec.metrics[{index}]");
        if !names.insert(&metric.name) {
            let message = format!("metrics[{index}]: duplicate name '{}'", metric.name);
            sink.error(format!("{at}.name"), message, "give it a name of its own");
        }
        one(metric, &at, &values, sink);
        conditions::check(metric, &at, &values, sink);
    }
}

fn one(metric: &Metric, at: &str, values: &Values, sink: &mut Sink<'_>) {
    let settled = settled(metric, values);
    let count_is_open = metric.count.as_ref().is_some_and(|count| is_open(count, values));
    // What cannot be resolved is told of its placeholders.
    let Ok(resolved) = resolve_metric(&settled, &values.filled) else { return };
    if let Err(fault) = validate_metric(&resolved) {
        let (field, fix) = remedy(&fault);
        sink.error(format!("{at}.{field}"), fault.to_string(), fix);
    }
    limits::check(&resolved, at, !count_is_open, sink);
}

fn is_open(value: &IntOrString, values: &Values) -> bool {
    matches!(value, IntOrString::String(text) if values.is_open(text))
}

/// The metric without the limits and times that only the caller knows.
fn settled(metric: &Metric, values: &Values) -> Metric {
    let mut metric = metric.clone();
    for time in [&mut metric.interval, &mut metric.initial_delay] {
        if values.is_open(time) {
            "1m".clone_into(time);
        }
    }
    for limit in [
        &mut metric.count,
        &mut metric.failure_limit,
        &mut metric.inconclusive_limit,
        &mut metric.consecutive_error_limit,
        &mut metric.consecutive_success_limit,
    ] {
        *limit = limit.take().filter(|limit| !is_open(limit, values));
    }
    metric
}

/// The field that is meant, and what to write there.
fn remedy(fault: &MetricFault) -> (&'static str, String) {
    const DURATION: &str = "write a duration such as 30s, 5m or 1h30m";
    let (field, fix) = match fault {
        MetricFault::ConsecutiveSuccessLimit => ("consecutiveSuccessLimit", "write 0 (off) or more"),
        MetricFault::FailureLimit => ("failureLimit", "write 0 or more, or -1 for any number"),
        MetricFault::BothDisabled => ("failureLimit", "write 0 or more, or set consecutiveSuccessLimit"),
        MetricFault::InconclusiveLimit => ("inconclusiveLimit", "write 0 or more"),
        MetricFault::ConsecutiveErrorLimit => ("consecutiveErrorLimit", "write 0 or more"),
        MetricFault::CountBelowBoth { failures, successes, .. } => {
            let least = failures.saturating_add(*successes);
            return ("count", format!("write {least} or more, or lower the limits"));
        }
        MetricFault::CountBelowSuccesses => ("count", "write consecutiveSuccessLimit or more, or lower that limit"),
        MetricFault::CountBelowInconclusive => ("count", "write inconclusiveLimit or more, or lower that limit"),
        MetricFault::NoInterval => ("interval", "add the time between measurements, such as interval: 1m"),
        MetricFault::Interval(_) => ("interval", DURATION),
        MetricFault::InitialDelay(_) => ("initialDelay", DURATION),
        MetricFault::NoProvider => return ("provider", format!("write one of {PROVIDERS}")),
        MetricFault::ManyProviders => ("provider", "keep one, and make a metric of each other"),
    };
    (field, fix.to_owned())
}
