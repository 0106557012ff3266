//! Argo Rollouts' analysis kinds (`argoproj.io/v1alpha1`), with Argo's own fields, so that manifests run unmodified.
//!
//! What Argo judges when a run is carried out is not judged here: a field that its CRD does not bound has no bound. The
//! order of the fields is that of Argo's Go types, since a message may quote a metric as JSON.

mod argument;
mod crds;
mod experiment;
mod experiment_status;
mod metric;
mod phase;
mod provider;
mod run;
mod run_status;
mod template;

pub use argument::{Argument, ArgumentSource, FieldPathRef, SecretKeyRef};
pub use crds::argo_crds;
pub use experiment::{
    AnalysisRunMetadata, Experiment, ExperimentAnalysis, ExperimentSpec, ExperimentTemplate, TemplateService,
};
pub use experiment_status::{
    ExperimentCondition, ExperimentRunStatus, ExperimentStatus, TemplatePhase, TemplateStatus,
};
pub use metric::{DryRun, MeasurementRetention, Metric, int_value};
pub use phase::RunPhase;
pub use provider::{
    Authentication, BasicAuth, CloudWatchMetric, CloudWatchQuery, DatadogMetric, Dimension, GraphiteMetric, HttpHeader,
    InfluxdbMetric, JobMetric, KayentaMetric, KayentaScope, KayentaScopeDetail, KayentaThreshold, MetricProvider,
    MetricStat, MetricStatMetric, NewRelicMetric, OAuth2, PrometheusMetric, PrometheusRangeQuery, SecretRef, SigV4,
    SkyWalkingMetric, WavefrontMetric, WebMetric,
};
pub use run::{AnalysisRun, AnalysisRunSpec, TtlStrategy};
pub use run_status::{AnalysisRunStatus, Measurement, MetricResult, RunSummary};
pub use template::{
    AnalysisTemplate, AnalysisTemplateRef, AnalysisTemplateSpec, ClusterAnalysisTemplate, ClusterAnalysisTemplateSpec,
};

use schemars::{Schema, SchemaGenerator, json_schema};

/// Whether a number is its Go zero value, which `omitempty` leaves out.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The schema of a Kubernetes object that is kept as it is: a JobSpec, a PodTemplateSpec. Whoever creates the object
/// lets the API server judge it.
fn kept_as_it_is(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
