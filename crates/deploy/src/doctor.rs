//! Checks of an AWS account that find problems before a deployment.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::account::Aws;
use crate::bucket::is_missing;
use crate::call::STS;
use crate::error::AwsError;
use crate::plan::StackName;
use crate::stack::StackState;

/// Largest difference from AWS's clock. AWS rejects signatures with a larger one.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The subject of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The region.
    Region,
    /// The credentials.
    Credentials,
    /// This machine's clock.
    Clock,
    /// The CloudFormation stack.
    Stack,
    /// The SageMaker endpoint.
    Endpoint,
    /// The bucket.
    Bucket,
    /// The permissions of the credentials and of the function.
    Permissions,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Region => "region",
            Self::Credentials => "credentials",
            Self::Clock => "clock",
            Self::Stack => "stack",
            Self::Endpoint => "endpoint",
            Self::Bucket => "bucket",
            Self::Permissions => "permissions",
        })
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The check passed.
    Passed,
    /// The check failed; the detail says what to do.
    Failed,
    /// The check could not be made.
    Unknown,
}

/// A check with its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The subject.
    pub subject: Subject,
    /// The result.
    pub verdict: Verdict,
    /// What was found and, if the check failed, how to fix it.
    pub detail: String,
}

impl Finding {
    pub(crate) fn passed(subject: Subject, detail: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Passed, detail: detail.into() }
    }

    pub(crate) fn failed(subject: Subject, detail: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Failed, detail: detail.into() }
    }

    pub(crate) fn unknown(subject: Subject, detail: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Unknown, detail: detail.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Passed => "ok     ",
            Verdict::Failed => "FAILED ",
            Verdict::Unknown => "unknown",
        };
        write!(f, "{verdict} {:<12} {}", self.subject, self.detail)
    }
}

impl Aws {
    /// Connects and checks the credentials, the clock, the stack, the endpoint and the bucket (the named
    /// ones, or else the stack's), and the permissions of the credentials and of the function.
    pub async fn diagnose(
        region: Option<String>,
        stack: &StackName,
        endpoint: Option<&str>,
        bucket: Option<&str>,
    ) -> Vec<Finding> {
        let aws = match Self::connect(region).await {
            Ok(aws) => aws,
            Err(error @ AwsError::NoRegion) => {
                return vec![Finding::failed(Subject::Region, error.to_string())];
            }
            Err(error) => return vec![Finding::failed(Subject::Credentials, error.to_string())],
        };
        aws.examine(stack, endpoint, bucket).await
    }

    pub(crate) async fn examine(
        &self,
        stack: &StackName,
        endpoint: Option<&str>,
        bucket: Option<&str>,
    ) -> Vec<Finding> {
        let mut findings = vec![Finding::passed(Subject::Region, self.region()), self.clock().await];
        let who = self.identity().await;
        let who = match who {
            Ok(who) => who,
            Err(error) => {
                // All other checks would fail too.
                findings.push(Finding::failed(Subject::Credentials, error.to_string()));
                return findings;
            }
        };
        findings.push(Finding::passed(Subject::Credentials, &who.arn));
        let there = self.stack(stack.as_str()).await;
        findings.push(health_of_stack(stack, there.as_ref()));
        // An endpoint or bucket that is not named is the stack's.
        let there = there.ok().flatten();
        let deployed = there.as_ref().and_then(|state| state.output("Endpoint").ok());
        let chosen = there.as_ref().and_then(|state| state.parameter("EndpointName"));
        if let Some(name) = endpoint.or(deployed.as_deref()).or(chosen) {
            findings.push(self.health_of_endpoint(name).await);
        }
        let deployed = there.as_ref().and_then(|state| state.output("Bucket").ok());
        if let Some(name) = bucket.or(deployed.as_deref()) {
            findings.push(self.health_of_bucket(name).await);
        }
        findings.extend(self.permissions(&who, stack, there.as_ref()).await);
        findings
    }

    async fn clock(&self) -> Finding {
        let reply = match self.probe(STS, "read its clock").await {
            Ok(reply) => reply,
            Err(error) => {
                return Finding::failed(
                    Subject::Clock,
                    format!("{error}; check the network, the proxy and the firewall"),
                );
            }
        };
        let theirs = reply.headers.get("date").and_then(|date| date.to_str().ok());
        let theirs = theirs.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        match theirs {
            Some(theirs) => compare(OffsetDateTime::now_utc(), theirs),
            None => Finding::failed(
                Subject::Clock,
                "the response has no date; a proxy may have answered instead of AWS",
            ),
        }
    }

    async fn health_of_endpoint(&self, name: &str) -> Finding {
        match self.endpoint(name).await {
            Ok(None) => {
                let detail = format!("no endpoint {name} in {}; check the name and the region", self.region);
                Finding::failed(Subject::Endpoint, detail)
            }
            Ok(Some(endpoint)) if endpoint.in_service() => {
                let kind = if endpoint.outputs.is_some() { "asynchronous" } else { "real-time" };
                Finding::passed(Subject::Endpoint, format!("{name} is in service ({kind})"))
            }
            Ok(Some(endpoint)) => {
                let why = endpoint.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let detail = format!("{name} is {}{why}; wait until it is InService", endpoint.status);
                Finding::failed(Subject::Endpoint, detail)
            }
            Err(error) => Finding::failed(Subject::Endpoint, error.to_string()),
        }
    }

    async fn health_of_bucket(&self, name: &str) -> Finding {
        let error = match self.s3.head_bucket().bucket(name).send().await {
            Ok(answer) => {
                let region = answer.bucket_region().unwrap_or(&self.region);
                return self.region_of_bucket(name, region);
            }
            Err(error) => error,
        };
        // S3 names the region of a bucket even in an error response.
        let region = error.raw_response().and_then(|response| response.headers().get("x-amz-bucket-region"));
        if let Some(region) = region.filter(|region| **region != self.region) {
            return self.region_of_bucket(name, region);
        }
        if is_missing(&error) {
            return Finding::failed(
                Subject::Bucket,
                format!("no bucket {name}; create it or correct the name"),
            );
        }
        let error = AwsError::of("read the bucket (s3:ListBucket)")(error);
        Finding::failed(Subject::Bucket, error.to_string())
    }

    fn region_of_bucket(&self, name: &str, region: &str) -> Finding {
        if region == self.region {
            Finding::passed(Subject::Bucket, format!("{name} is in {region}"))
        } else {
            let remedy =
                format!("set `--region {region}`, or `s3_region`, so that presigned URLs have that region");
            Finding::failed(
                Subject::Bucket,
                format!("{name} is in {region}, not in {}; {remedy}", self.region),
            )
        }
    }
}

fn health_of_stack(name: &StackName, there: Result<&Option<StackState>, &AwsError>) -> Finding {
    let state = match there {
        Ok(None) => {
            return Finding::passed(Subject::Stack, format!("no stack {name}; it has not been deployed"));
        }
        Ok(Some(state)) => state,
        Err(error) => return Finding::failed(Subject::Stack, error.to_string()),
    };
    let status = &state.status;
    if state.is_changing() {
        Finding::passed(Subject::Stack, format!("{name} is changing ({status})"))
    } else if status.contains("FAILED") || status == "ROLLBACK_COMPLETE" {
        let remedy = "run `tintype destroy` and deploy again";
        Finding::failed(Subject::Stack, format!("{name} is {status}; {remedy}"))
    } else {
        Finding::passed(Subject::Stack, format!("{name} is {status}"))
    }
}

fn compare(ours: OffsetDateTime, theirs: OffsetDateTime) -> Finding {
    let skew = ours - theirs;
    let (seconds, side) = (skew.whole_seconds().abs(), if skew.is_negative() { "behind" } else { "ahead" });
    if skew.unsigned_abs() > MAX_CLOCK_SKEW {
        let detail =
            format!("{seconds} s {side} of AWS, which rejects signatures; set the clock, for example by NTP");
        Finding::failed(Subject::Clock, detail)
    } else {
        Finding::passed(Subject::Clock, format!("{seconds} s {side} of AWS"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn clocks() {
        let noon = datetime!(2026-11-23 12:00 UTC);
        assert_eq!(compare(noon, datetime!(2026-11-23 11:55:01 UTC)).verdict, Verdict::Passed);
        let late = compare(noon, datetime!(2026-11-23 12:06 UTC));
        assert_eq!(late.verdict, Verdict::Failed);
        assert!(late.detail.starts_with("360 s behind"), "{late}");
    }

    #[test]
    fn the_date_header_is_parsed() {
        let read = OffsetDateTime::parse("Mon, 23 Nov 2026 12:00:00 GMT", &Rfc2822).expect("a date");
        assert_eq!(read, datetime!(2026-11-23 12:00 UTC));
    }
}
