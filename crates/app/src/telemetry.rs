//! The log: structured, on standard error.

use std::{panic, sync::Once};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::okrad::LogFormat;

/// Crates that would write credentials into the log at their finest levels (signed requests with their session
/// tokens, bearer headers): whatever is asked for, they tell no more than this.
const CAPPED: [&str; 8] = [
    "aws_sigv4=info",
    "aws_runtime=info",
    "aws_smithy_runtime=info",
    "aws_smithy_http_client=info",
    "aws_config=info",
    "hyper=info",
    "hyper_util=info",
    "kube_client=debug",
];

/// What okra's own words say better: a call that fails is told once, with what it was about.
const SAID_OTHERWISE: &str = "kube_client::client::builder=off";

/// Begins to log. `level` is what the flag says, else `RUST_LOG` counts, else `info`. Fails when the level cannot be
/// read. Only the first call of a process has an effect.
pub fn init(format: LogFormat, level: Option<&str>) -> anyhow::Result<()> {
    let variable = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let (name, wanted) = match (level, &variable) {
        (Some(level), _) => ("--log-level", level),
        (None, Some(variable)) => ("RUST_LOG", variable.as_str()),
        (None, None) => ("--log-level", "info"),
    };
    let filter = filter(wanted).map_err(|error| anyhow::anyhow!("invalid value \"{wanted}\" for {name}: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    // A second call (several runs in one process, in tests) keeps the first log.
    let _first = match format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(false)).try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_current_span(true).with_writer(std::io::stderr))
            .try_init(),
    };
    log_panics();
    Ok(())
}

fn filter(wanted: &str) -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::try_new(wanted)?;
    for cap in CAPPED {
        let (target, level) = cap.split_once('=').unwrap_or((cap, "info"));
        // A cap must not raise what was asked to be quiet.
        if asks_for_more(wanted, target, level) {
            filter = filter.add_directive(cap.parse()?);
        }
    }
    if !wanted.contains("kube_client") {
        filter = filter.add_directive(SAID_OTHERWISE.parse()?);
    }
    Ok(filter)
}

/// Whether the directives would let a target tell more than `cap`.
fn asks_for_more(wanted: &str, target: &str, cap: &str) -> bool {
    let rank = |level: &str| match level.trim().to_ascii_lowercase().as_str() {
        "off" => 0,
        "error" => 1,
        "warn" => 2,
        "info" => 3,
        "debug" => 4,
        _ => 5,
    };
    wanted.split(',').any(|directive| {
        let (of, level) = directive.rsplit_once('=').unwrap_or(("", directive));
        let concerns = of.is_empty() || of.contains('[') || of.starts_with(target);
        concerns && rank(level) > rank(cap)
    })
}

/// Panics go into the log, in its form, once.
fn log_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let location = info.location().map(ToString::to_string);
            let message = info.payload_as_str().unwrap_or("without a message");
            tracing::error!(location, panic = message, "Panicked");
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_logged_whatever_is_asked_for() {
        for wanted in ["trace", "debug", "aws_sigv4=trace", "info,aws_sigv4::http_request=trace", "aws_sigv4[x]=trace"]
        {
            let text = filter(wanted).unwrap().to_string();
            assert!(text.split(',').any(|directive| directive == "aws_sigv4=info"), "{wanted}: {text}");
        }
    }

    #[test]
    fn a_cap_does_not_make_anything_louder() {
        for wanted in ["info", "warn", "off", "okra_aws=trace"] {
            let text = filter(wanted).unwrap().to_string();
            assert!(!text.contains("aws_sigv4"), "{wanted}: {text}");
        }
    }

    #[test]
    fn a_failed_call_is_told_once_unless_more_is_asked_for() {
        let is_quiet = |wanted: &str| filter(wanted).unwrap().to_string().contains("kube_client::client::builder=off");
        assert!(is_quiet("info") && is_quiet("okra=debug"));
        assert!(!is_quiet("info,kube_client=debug"));
    }

    #[test]
    fn a_bad_level_names_the_flag() {
        let error = init(LogFormat::Text, Some("okra=loud")).unwrap_err().to_string();
        assert!(error.contains("--log-level") && error.contains("okra=loud"), "{error}");
    }
}
