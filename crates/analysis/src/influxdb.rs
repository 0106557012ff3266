//! `influxdb`: a Flux query. The answer is annotated CSV, of which every `_value` is the result.

mod csv;

use okra_api::analysis::InfluxdbMetric;
use okra_expr::Value;
use okra_provider::metric::{MetricError, Reading, Sample, SecretText};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::go;
use crate::http::{Answer, Call, Deadline, parse_url};

const DEFAULT_SECRET: &str = "influxdb";
const TIMEOUT: i64 = 30;

pub(crate) async fn run(context: &mut Context<'_>, spec: InfluxdbMetric) -> Result<Reading, MetricError> {
    measure(context, &spec).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(context: &mut Context<'_>, spec: &InfluxdbMetric) -> Result<Sample, String> {
    let secret = if spec.profile.is_empty() { DEFAULT_SECRET } else { &spec.profile };
    let data = context.own_secret(secret, &["address", "org"]).await?;
    let part = |key| data.get(key).map(SecretText::expose).filter(|value| !value.is_empty());
    let (Some(token), Some(address), Some(org)) = (part("authToken"), part("address"), part("org")) else {
        return Err("authToken, org, or address not found".to_owned());
    };
    let url = format!("{}/api/v2/query?org={}", address.trim_end_matches('/'), go::query_escape(org));
    let dialect = json!({"annotations": ["datatype", "group", "default"], "delimiter": ",", "header": true});
    let body = json!({"query": spec.query, "type": "flux", "dialect": dialect});
    let deadline = Deadline::after_seconds(TIMEOUT);
    let mut call = Call::post(parse_url(&url)?, "application/json", body.to_string(), deadline);
    call.set_header("Authorization", &format!("Token {token}"))?;
    let answer = context.http.send(call).await?;
    if !answer.is_success() {
        return Err(refusal(&answer));
    }
    let values = values(&String::from_utf8_lossy(&answer.body))?;
    if values.is_empty() {
        return Err("no results returned from flux query".to_owned());
    }
    let result = Value::anys(values);
    let shown = result.to_string();
    Ok(Sample::new(result, shown))
}

fn refusal(answer: &Answer) -> String {
    let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |field: &str| body.get(field).and_then(Json::as_str).unwrap_or_default();
    match (text("code"), text("message")) {
        ("", _) | (_, "") => format!("Unexpected status code {}", answer.status),
        (code, message) => format!("{code}: {message}"),
    }
}

/// A table of the answer: what its columns are called, hold, and hold where nothing stands.
#[derive(Default)]
struct Table {
    types: Vec<String>,
    defaults: Vec<String>,
    names: Vec<String>,
}

/// Every `_value` of every table.
fn values(text: &str) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    let mut table = Table::default();
    for row in csv::rows(text)? {
        match row.first().map(String::as_str) {
            _ if row.iter().all(String::is_empty) => {}
            Some("#datatype") => table = Table { types: row, ..Table::default() },
            Some("#default") => table.defaults = row,
            Some(first) if first.starts_with('#') => {}
            // A page of something else has rows too.
            _ if table.types.is_empty() => return Err("parsing error, annotations not found".to_owned()),
            _ if table.names.is_empty() => table.names = row,
            _ => found.push(table.value(&row)?),
        }
    }
    Ok(found)
}

impl Table {
    fn value(&self, row: &[String]) -> Result<Value, String> {
        let column = |name: &str| self.names.iter().position(|known| known == name);
        let at = |index: usize| row.get(index).map(String::as_str).unwrap_or_default();
        if let Some(index) = column("error") {
            let reference = column("reference").map(at).filter(|reference| !reference.is_empty());
            return Err(reference.map_or_else(|| at(index).to_owned(), |code| format!("{},{code}", at(index))));
        }
        let Some(index) = column("_value") else { return Ok(Value::Nil) };
        let fallback = self.defaults.get(index).map(String::as_str).unwrap_or_default();
        let text = if at(index).is_empty() { fallback } else { at(index) };
        convert(text, self.types.get(index).map(String::as_str).unwrap_or_default())
    }
}

/// A value of a column, as the Go client types it.
fn convert(text: &str, datatype: &str) -> Result<Value, String> {
    let wrong = || format!("the answer holds {} where {datatype} is promised", go::quote(text));
    if text.is_empty() && datatype != "string" {
        return Ok(Value::Nil);
    }
    match datatype {
        "double" => go::parse_float(text).map(Value::Float).ok_or_else(wrong),
        "long" => text.parse().map(Value::Int64).map_err(|_| wrong()),
        "unsignedLong" => {
            let value: u64 = text.parse().map_err(|_| wrong())?;
            // Beyond int64 only its size matters.
            Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int64))
        }
        "boolean" => Ok(Value::Bool(text != "false")),
        "duration" => go::duration_nanos(text).map(Value::Duration),
        _ if datatype.starts_with("dateTime") => text.parse::<jiff::Timestamp>().map(Value::from).map_err(|_| wrong()),
        _ => Ok(Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        values(text).map(|values| Value::anys(values).to_string())
    }

    #[test]
    fn tables_are_read_with_their_types() {
        let text = "#datatype,string,long,dateTime:RFC3339,double\r\n#group,false,false,true,false\r\n\
                    #default,_result,,,7.5\r\n,result,table,_time,_value\r\n,,0,2020-02-18T10:34:08Z,1.4\r\n\
                    ,,0,2020-02-18T10:34:09Z,\r\n,,0,2020-02-18T10:34:09Z,NaN\r\n\r\n\
                    #datatype,string,long,string\r\n#group,false,false,false\r\n#default,_result,,\r\n\
                    ,result,table,_value\r\n,,1,\"a, \"\"b\"\"\"\r\n,,1,\r\n\r\n\
                    #datatype,string,boolean\r\n#default,_result,\r\n,result,_value\r\n,,true\r\n";
        assert_eq!(shown(text), Ok("[1.4 7.5 NaN a, \"b\"  true]".to_owned()));
        assert_eq!(
            shown("#datatype,long\n#default,\n,_value\n,9223372036854775807\n"),
            Ok("[9223372036854775807]".to_owned())
        );
        assert_eq!(shown("#datatype,string,long\n#default,_result,\n,result,table\n,,1\n"), Ok("[<nil>]".to_owned()));
    }

    #[test]
    fn errors_in_the_answer_are_errors() {
        let text =
            "#datatype,string,string\n#group,true,true\n#default,,\n,error,reference\n,Failed to parse query,897\n";
        assert_eq!(shown(text), Err("Failed to parse query,897".to_owned()));
        assert_eq!(
            shown("#datatype,double\n#default,\n,_value\n,abc\n"),
            Err("the answer holds \"abc\" where double is promised".to_owned())
        );
        for page in ["<html>", "<html>\n<p>\n</html>", "a,_value\n1,2\n"] {
            assert_eq!(shown(page), Err("parsing error, annotations not found".to_owned()), "{page}");
        }
        assert_eq!(shown(""), Ok("[]".to_owned()));
    }
}
