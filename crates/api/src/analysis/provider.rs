//! Where measurements come from. Exactly one of the providers of a metric is set; who checks that is the run.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{is_zero, kept_as_it_is};

/// Where a measurement comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricProvider {
    /// A query of Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusMetric>,
    /// An analysis of Kayenta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kayenta: Option<KayentaMetric>,
    /// An HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebMetric>,
    /// A query of Datadog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datadog: Option<DatadogMetric>,
    /// A query of Wavefront.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wavefront: Option<WavefrontMetric>,
    /// A query of New Relic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_relic: Option<NewRelicMetric>,
    /// A Kubernetes Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobMetric>,
    /// Metrics of Amazon CloudWatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_watch: Option<CloudWatchMetric>,
    /// A query of Graphite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphite: Option<GraphiteMetric>,
    /// A query of InfluxDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influxdb: Option<InfluxdbMetric>,
    /// A query of SkyWalking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skywalking: Option<SkyWalkingMetric>,
    /// Plugins by name, with their configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "kept_as_it_is")]
    pub plugin: Option<BTreeMap<String, Value>>,
}

/// A query of Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusMetric {
    /// URL of the server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// How to authenticate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub authentication: Authentication,
    /// Seconds that the query may take. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Takes any certificate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub insecure: bool,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
    /// Asks for a range instead of an instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_query: Option<PrometheusRangeQuery>,
}

/// The range of a query; start and end are expressions, such as `now() - duration("1h")`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrometheusRangeQuery {
    /// Expression of its start.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start: String,
    /// Expression of its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end: String,
    /// Time between samples, like `1m`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
}

/// How to authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// By a signature of AWS.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sigv4: SigV4,
    /// By OAuth2 client credentials.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oauth2: OAuth2,
    /// By a name and a password.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub basic_auth: BasicAuth,
}

/// OAuth2 client credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// URL that gives a token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token_url: String,
    /// Id of the client.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_secret: String,
    /// Scopes to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// A signature of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigV4 {
    /// Region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Profile of the credentials.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// Role to assume.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role_arn: String,
}

/// A name and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BasicAuth {
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub password: String,
}

/// A header of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpHeader {
    /// Its name.
    #[serde(default)]
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// An HTTP request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebMetric {
    /// `GET` (the default), `POST` or `PUT`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The URL.
    #[serde(default)]
    pub url: String,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
    /// Body of the request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Seconds that the request may take. Default 10.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout_seconds: i64,
    /// JSONPath of the result in the body of the answer. Default: all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub json_path: String,
    /// Takes any certificate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub insecure: bool,
    /// Body of the request, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "kept_as_it_is")]
    pub json_body: Option<Value>,
    /// How to authenticate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub authentication: Authentication,
}

/// A query of Datadog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatadogMetric {
    /// Time that the query looks back.
    #[serde(default = "DatadogMetric::interval", skip_serializing_if = "String::is_empty")]
    pub interval: String,
    /// The query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Queries by name, for a formula.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<String, String>,
    /// A formula over the queries.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub formula: String,
    /// Version of Datadog's API.
    #[serde(default = "DatadogMetric::api_version", skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["v1", "v2"]))]
    pub api_version: String,
    /// What is made of the points, v2 only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["avg", "min", "max", "sum", "last", "percentile", "mean", "l2norm", "area"]))]
    pub aggregator: String,
    /// The Secret with the keys.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secret_ref: SecretRef,
    /// Time that the request may take.
    #[serde(default = "DatadogMetric::request_timeout", skip_serializing_if = "String::is_empty")]
    pub request_timeout: String,
}

impl DatadogMetric {
    fn interval() -> String {
        "5m".to_owned()
    }

    fn api_version() -> String {
        "v1".to_owned()
    }

    fn request_timeout() -> String {
        "10s".to_owned()
    }
}

/// With the defaults of Argo's CRD, which a template from a file needs as well.
impl Default for DatadogMetric {
    fn default() -> Self {
        Self {
            interval: Self::interval(),
            query: String::new(),
            queries: BTreeMap::new(),
            formula: String::new(),
            api_version: Self::api_version(),
            aggregator: String::new(),
            secret_ref: SecretRef::default(),
            request_timeout: Self::request_timeout(),
        }
    }
}

/// A Secret with the keys of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is in the namespace of the run instead of the controller's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub namespaced: bool,
}

/// A query of Wavefront.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WavefrontMetric {
    /// Host of the server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
}

/// A query of New Relic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewRelicMetric {
    /// Name of the Secret with the keys. Default `newrelic`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// The query, in NRQL.
    #[serde(default)]
    pub query: String,
    /// Seconds that the query may take. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// A Kubernetes Job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobMetric {
    /// Labels and annotations of the Job.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "kept_as_it_is")]
    pub metadata: Value,
    /// The JobSpec.
    #[serde(default)]
    #[schemars(schema_with = "kept_as_it_is")]
    pub spec: Value,
}

/// A query of Graphite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphiteMetric {
    /// URL of the server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
}

/// A query of InfluxDB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InfluxdbMetric {
    /// Name of the Secret with the address and the token. Default `influxdb`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// The query, in Flux.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
}

/// A query of SkyWalking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkyWalkingMetric {
    /// URL of the server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The query, in GraphQL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Time that the query looks back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interval: String,
}

/// Metrics of Amazon CloudWatch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudWatchMetric {
    /// Time that the queries look back. Default 5m.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interval: String,
    /// The queries.
    #[serde(default)]
    pub metric_data_queries: Vec<CloudWatchQuery>,
}

/// A query of GetMetricData.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudWatchQuery {
    /// Its id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// An expression over other queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Label of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_stat: Option<MetricStat>,
    /// Seconds between points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<IntOrString>,
    /// Whether its values are part of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_data: Option<bool>,
}

/// A metric and what is made of its points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricStat {
    /// The metric.
    #[serde(default)]
    pub metric: MetricStatMetric,
    /// Seconds between points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<IntOrString>,
    /// The statistic, like `Sum` or `p99`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stat: String,
    /// The unit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// A metric of CloudWatch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatMetric {
    /// Its dimensions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<Dimension>,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metric_name: String,
    /// Its namespace, like `AWS/ApplicationELB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A dimension of a metric of CloudWatch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dimension {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// An analysis of Kayenta.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KayentaMetric {
    /// URL of the server.
    #[serde(default)]
    pub address: String,
    /// The application.
    #[serde(default)]
    pub application: String,
    /// Name of the canary's configuration.
    #[serde(default)]
    pub canary_config_name: String,
    /// Account of the metrics.
    #[serde(default)]
    pub metrics_account_name: String,
    /// Account of the configuration.
    #[serde(default)]
    pub configuration_account_name: String,
    /// Account of the storage.
    #[serde(default)]
    pub storage_account_name: String,
    /// Scores that pass.
    #[serde(default)]
    pub threshold: KayentaThreshold,
    /// What is compared.
    #[serde(default)]
    pub scopes: Vec<KayentaScope>,
    /// Whether the whole past counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lookback: bool,
}

/// Scores that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KayentaThreshold {
    /// From here on it is successful.
    #[serde(default)]
    pub pass: i64,
    /// From here on it is inconclusive.
    #[serde(default)]
    pub marginal: i64,
}

/// What Kayenta compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KayentaScope {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The baseline.
    #[serde(default)]
    pub control_scope: KayentaScopeDetail,
    /// The canary.
    #[serde(default)]
    pub experiment_scope: KayentaScopeDetail,
}

/// One side of what Kayenta compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KayentaScopeDetail {
    /// The scope.
    #[serde(default)]
    pub scope: String,
    /// The region.
    #[serde(default)]
    pub region: String,
    /// Seconds between points.
    #[serde(default)]
    pub step: i64,
    /// Start of the time that is looked at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start: String,
    /// Its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end: String,
}
