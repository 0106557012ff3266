//! What all providers' specs have in common.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// The providers, in the order in which Argo Rollouts looks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Prometheus,
    Job,
    Kayenta,
    Web,
    Datadog,
    Wavefront,
    NewRelic,
    CloudWatch,
    Graphite,
    Influxdb,
    SkyWalking,
    Plugin,
}

const KINDS: [(Kind, &str, &str); 12] = [
    (Kind::Prometheus, "prometheus", "Prometheus"),
    (Kind::Job, "job", "Job"),
    (Kind::Kayenta, "kayenta", "Kayenta"),
    (Kind::Web, "web", "WebMetric"),
    (Kind::Datadog, "datadog", "Datadog"),
    (Kind::Wavefront, "wavefront", "Wavefront"),
    (Kind::NewRelic, "newRelic", "NewRelic"),
    (Kind::CloudWatch, "cloudWatch", "CloudWatch"),
    (Kind::Graphite, "graphite", "Graphite"),
    (Kind::Influxdb, "influxdb", "Influxdb"),
    (Kind::SkyWalking, "skywalking", "SkyWalking"),
    (Kind::Plugin, "plugin", "Plugin"),
];

impl Kind {
    /// The provider of a metric, with its spec.
    pub(crate) fn of(provider: &Json) -> Option<(Self, &Json)> {
        KINDS.iter().find_map(|(kind, member, _)| {
            let spec = provider.get(member).filter(|spec| !spec.is_null())?;
            Some((*kind, spec))
        })
    }

    pub(crate) fn member(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, member, _)| member)
    }

    pub(crate) fn type_name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., name)| name)
    }
}

/// Reads the spec of a provider.
pub(crate) fn parse<T: DeserializeOwned>(kind: Kind, spec: &Json) -> Result<T, String> {
    let mut spec = spec.clone();
    drop_nulls(&mut spec);
    serde_json::from_value(spec).map_err(|error| format!("failed to parse provider.{}: {error}", kind.member()))
}

/// A member that is null is absent, as in Go; but what is sent as it stands keeps its nulls.
fn drop_nulls(value: &mut Json) {
    match value {
        Json::Object(object) => {
            object.retain(|_, member| !member.is_null());
            object.iter_mut().filter(|(name, _)| *name != "jsonBody").for_each(|(_, member)| drop_nulls(member));
        }
        Json::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
