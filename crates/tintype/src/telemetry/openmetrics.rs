//! Converts OpenMetrics text, the format of `/metrics`, to OpenTelemetry's messages, so that both exports
//! have the same values.
//!
//! A metric for which OpenTelemetry's semantic conventions have a name gets that name
//! (`http.server.request.duration`). The others keep their name, with a dot after `tintype` and without the
//! unit, which is a separate field.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

/// The histogram of HTTP requests in the text.
const REQUEST_SECONDS: &str = "tintype_http_request_seconds";
/// The name of that histogram in the semantic conventions.
const REQUEST_DURATION: &str = "http.server.request.duration";
/// A counter that is not exported, because the histogram has the same count.
const REQUEST_COUNT: &str = "tintype_http_requests";

/// The interval that a metric's values cover, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) start_nanos: u64,
    pub(super) end_nanos: u64,
}

/// A metric of the text.
struct Family<'t> {
    name: &'t str,
    help: &'t str,
    kind: &'t str,
    unit: &'t str,
    samples: Vec<Sample<'t>>,
}

struct Sample<'t> {
    /// The part of its name after the metric's name: `_total`, `_bucket`.
    suffix: &'t str,
    labels: Vec<(&'t str, String)>,
    value: &'t str,
}

/// The metrics of the text, whose counters cover the interval.
pub(super) fn metrics(text: &str, interval: Interval) -> Vec<Metric> {
    let exported = families(text)
        .into_iter()
        .filter(|family| family.name != REQUEST_COUNT && !family.samples.is_empty());
    exported
        .filter_map(|family| {
            let data = match family.kind {
                "counter" => Data::Sum(Sum {
                    data_points: numbers(&family, interval),
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                    is_monotonic: true,
                }),
                "gauge" => Data::Gauge(Gauge {
                    data_points: numbers(&family, Interval { start_nanos: 0, ..interval }),
                }),
                "histogram" => Data::Histogram(Histogram {
                    data_points: histogram_points(&family, interval),
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                }),
                _ => return None,
            };
            let (name, unit) = name_and_unit(&family);
            let description = family.help.to_owned();
            Some(Metric { name, description, unit: unit.to_owned(), data: Some(data), ..Metric::default() })
        })
        .collect()
}

fn name_and_unit(family: &Family<'_>) -> (String, &'static str) {
    if family.name == REQUEST_SECONDS {
        return (REQUEST_DURATION.to_owned(), "s");
    }
    let bare = family.name.strip_suffix(family.unit).map_or(family.name, |name| name.trim_end_matches('_'));
    let unit = if family.unit == "seconds" { "s" } else { "1" };
    (bare.replacen('_', ".", 1), unit)
}

fn numbers(family: &Family<'_>, interval: Interval) -> Vec<NumberDataPoint> {
    let point = |sample: &Sample<'_>| NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: interval.start_nanos,
        time_unix_nano: interval.end_nanos,
        value: Some(match sample.value.parse() {
            Ok(whole) => number_data_point::Value::AsInt(whole),
            Err(_) => number_data_point::Value::AsDouble(sample.value.parse().unwrap_or(f64::NAN)),
        }),
        ..NumberDataPoint::default()
    };
    family.samples.iter().map(point).collect()
}

/// One data point for each set of labels. The samples of a set are adjacent in the text.
fn histogram_points(family: &Family<'_>, interval: Interval) -> Vec<HistogramDataPoint> {
    let mut points: Vec<(Vec<&(&str, String)>, HistogramDataPoint)> = Vec::new();
    for sample in &family.samples {
        let bound = sample.labels.iter().find(|(name, _)| *name == "le").map(|(_, bound)| bound.as_str());
        let own: Vec<_> = sample.labels.iter().filter(|(name, _)| *name != "le").collect();
        if points.last().is_none_or(|(labels, _)| *labels != own) {
            let point = HistogramDataPoint {
                attributes: attributes(own.iter().copied()),
                start_time_unix_nano: interval.start_nanos,
                time_unix_nano: interval.end_nanos,
                ..HistogramDataPoint::default()
            };
            points.push((own, point));
        }
        let Some((_, point)) = points.last_mut() else { continue };
        match (sample.suffix, bound) {
            ("_sum", _) => point.sum = sample.value.parse().ok(),
            ("_count", _) => point.count = sample.value.parse().unwrap_or_default(),
            ("_bucket", Some(bound)) => {
                // A bucket of the text counts all values up to its bound; the message counts the values
                // between two bounds.
                let below: u64 = sample.value.parse().unwrap_or_default();
                point.bucket_counts.push(below.saturating_sub(point.bucket_counts.iter().sum()));
                point.explicit_bounds.extend(bound.parse::<f64>().ok().filter(|bound| bound.is_finite()));
            }
            _ => {}
        }
    }
    points.into_iter().map(|(_, point)| point).collect()
}

fn attributes<'l>(labels: impl IntoIterator<Item = &'l (&'l str, String)>) -> Vec<KeyValue> {
    let attribute = |(name, value): &(&str, String)| {
        let text = || Value::StringValue(value.clone());
        let (key, value) = match (*name, value.as_str()) {
            ("method", "other") => ("http.request.method", Value::StringValue("_OTHER".to_owned())),
            ("method", _) => ("http.request.method", text()),
            ("route", "none") => return None,
            ("route", _) => ("http.route", text()),
            ("status", status) => match status.parse() {
                Ok(code) => ("http.response.status_code", Value::IntValue(code)),
                Err(_) => ("status", text()),
            },
            _ => (*name, text()),
        };
        Some(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        })
    };
    labels.into_iter().filter_map(attribute).collect()
}

fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        let descriptor = line.strip_prefix("# ").and_then(|comment| comment.split_once(' '));
        match (descriptor, families.last_mut()) {
            (Some(("HELP", rest)), _) => {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                families.push(Family { name, help, kind: "", unit: "", samples: Vec::new() });
            }
            (Some((keyword, rest)), Some(family)) => {
                let value = rest.split_once(' ').map_or("", |(_, value)| value);
                match keyword {
                    "TYPE" => family.kind = value,
                    "UNIT" => family.unit = value,
                    _ => {}
                }
            }
            (None, Some(family)) => family.samples.extend(sample(line, family.name)),
            (_, None) => {}
        }
    }
    families
}

fn sample<'t>(line: &'t str, family: &str) -> Option<Sample<'t>> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    Some(Sample { suffix: name.strip_prefix(family)?, labels, value: value.trim() })
}

/// Parses labels up to the closing brace, and returns the rest of the line too.
fn labels(mut text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = text.trim_start_matches(',').split_once("=\"")?;
        let (mut value, mut characters) = (String::new(), quoted.char_indices());
        text = loop {
            match characters.next()? {
                (end, '"') => break quoted.get(end + 1..)?,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, plain) => value.push(plain),
            }
        };
        labels.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP tintype_http_requests HTTP requests answered.
# TYPE tintype_http_requests counter
tintype_http_requests_total{method="GET",route="/generate",status="200"} 3
# HELP tintype_http_request_seconds Time to the answer's head.
# TYPE tintype_http_request_seconds histogram
# UNIT tintype_http_request_seconds seconds
tintype_http_request_seconds_sum{method="GET",route="/generate",status="200"} 0.75
tintype_http_request_seconds_count{method="GET",route="/generate",status="200"} 3
tintype_http_request_seconds_bucket{method="GET",route="/generate",status="200",le="0.1"} 1
tintype_http_request_seconds_bucket{method="GET",route="/generate",status="200",le="0.5"} 2
tintype_http_request_seconds_bucket{method="GET",route="/generate",status="200",le="+Inf"} 3
tintype_http_request_seconds_sum{method="other",route="none",status="404"} 0.5
tintype_http_request_seconds_count{method="other",route="none",status="404"} 1
tintype_http_request_seconds_bucket{method="other",route="none",status="404",le="+Inf"} 1
# HELP tintype_engine_seconds Engine time charged.
# TYPE tintype_engine_seconds counter
# UNIT tintype_engine_seconds seconds
tintype_engine_seconds_total{key="k",name="a \"b\"\\, c"} 2.0
# HELP tintype_jobs_ended Jobs that ended, by how.
# TYPE tintype_jobs_ended counter
# HELP tintype_jobs_queued Jobs that wait for a worker.
# TYPE tintype_jobs_queued gauge
tintype_jobs_queued 7
# EOF
"#;

    fn pairs(attributes: &[KeyValue]) -> Vec<(&str, Value)> {
        let value = |pair: &KeyValue| pair.value.clone().and_then(|value| value.value).expect("a value");
        attributes.iter().map(|pair| (pair.key.as_str(), value(pair))).collect()
    }

    fn text(text: &str) -> Value {
        Value::StringValue(text.to_owned())
    }

    #[test]
    fn the_messages_have_the_values_of_the_text() {
        let metrics = metrics(TEXT, Interval { start_nanos: 1, end_nanos: 2 });
        let [requests, engine, queued] = metrics.as_slice() else { panic!("three metrics: {metrics:?}") };

        assert_eq!((requests.name.as_str(), requests.unit.as_str()), ("http.server.request.duration", "s"));
        let Some(Data::Histogram(times)) = &requests.data else { panic!("a histogram") };
        let [good, bad] = times.data_points.as_slice() else { panic!("two routes") };
        assert_eq!(
            (good.count, good.sum, good.start_time_unix_nano, good.time_unix_nano),
            (3, Some(0.75), 1, 2)
        );
        assert_eq!((&good.explicit_bounds[..], &good.bucket_counts[..]), (&[0.1, 0.5][..], &[1, 1, 1][..]));
        let route = [
            ("http.request.method", text("GET")),
            ("http.route", text("/generate")),
            ("http.response.status_code", Value::IntValue(200)),
        ];
        assert_eq!(pairs(&good.attributes), route);
        let unknown =
            [("http.request.method", text("_OTHER")), ("http.response.status_code", Value::IntValue(404))];
        assert_eq!((pairs(&bad.attributes), bad.bucket_counts.as_slice()), (unknown.to_vec(), &[1][..]));

        assert_eq!((engine.name.as_str(), engine.unit.as_str()), ("tintype.engine", "s"));
        let Some(Data::Sum(sum)) = &engine.data else { panic!("a sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(2.0)));
        assert_eq!(
            pairs(&sum.data_points[0].attributes),
            [("key", text("k")), ("name", text("a \"b\"\\, c"))]
        );

        assert_eq!((queued.name.as_str(), queued.unit.as_str()), ("tintype.jobs_queued", "1"));
        let Some(Data::Gauge(gauge)) = &queued.data else { panic!("a gauge") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsInt(7)));
    }
}
