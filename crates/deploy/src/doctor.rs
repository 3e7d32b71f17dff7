//! Looking for what stands in the way, before it does.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::account::Aws;
use crate::bucket::is_missing;
use crate::call::STS;
use crate::error::AwsError;
use crate::plan::StackName;
use crate::stack::State;

/// How far a clock may be off: AWS refuses signatures of another time.
const LARGEST_SKEW: Duration = Duration::from_secs(5 * 60);

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The region.
    Region,
    /// Who we are.
    Credentials,
    /// This machine's clock.
    Clock,
    /// The stack, and whether we may look at it.
    Stack,
    /// The SageMaker endpoint.
    Endpoint,
    /// The bucket.
    Bucket,
    /// What we may do, and what the function may.
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

/// How it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Good,
    /// Something must be done.
    Bad,
    /// It could not be seen.
    Unknown,
}

/// What was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: Subject,
    /// How it looks.
    pub verdict: Verdict,
    /// What was seen and, if that is bad, what to do.
    pub says: String,
}

impl Finding {
    pub(crate) fn good(subject: Subject, says: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, says: says.into() }
    }

    pub(crate) fn bad(subject: Subject, says: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Bad, says: says.into() }
    }

    pub(crate) fn unknown(subject: Subject, says: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Unknown, says: says.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Good => "ok   ",
            Verdict::Bad => "WRONG",
            Verdict::Unknown => "?    ",
        };
        write!(f, "{verdict} {:<12} {}", self.subject, self.says)
    }
}

impl Aws {
    /// Connects and looks at who we are, the clock, the stack, an endpoint and a bucket (those that are named, or else the
    /// stack's), and at what we and the function may.
    pub async fn diagnose(
        region: Option<String>,
        stack: &StackName,
        endpoint: Option<&str>,
        bucket: Option<&str>,
    ) -> Vec<Finding> {
        let aws = match Self::connect(region).await {
            Ok(aws) => aws,
            Err(error @ AwsError::NoRegion) => return vec![Finding::bad(Subject::Region, error.to_string())],
            Err(error) => return vec![Finding::bad(Subject::Credentials, error.to_string())],
        };
        aws.examine(stack, endpoint, bucket).await
    }

    pub(crate) async fn examine(
        &self,
        stack: &StackName,
        endpoint: Option<&str>,
        bucket: Option<&str>,
    ) -> Vec<Finding> {
        let mut findings = vec![Finding::good(Subject::Region, self.region()), self.clock().await];
        let who = self.identity().await;
        let who = match who {
            Ok(who) => who,
            Err(error) => {
                // Nothing else would be allowed either.
                findings.push(Finding::bad(Subject::Credentials, error.to_string()));
                return findings;
            }
        };
        findings.push(Finding::good(Subject::Credentials, &who.arn));
        let there = self.stack(stack.as_str()).await;
        findings.push(health_of_stack(stack, there.as_ref()));
        // What was not named is what is deployed.
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
        let reply = match self.knock(STS, "ask the time").await {
            Ok(reply) => reply,
            Err(error) => {
                return Finding::bad(
                    Subject::Clock,
                    format!("{error}; look at the network, proxy and firewall"),
                );
            }
        };
        let theirs = reply.headers.get("date").and_then(|date| date.to_str().ok());
        let theirs = theirs.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        match theirs {
            Some(theirs) => compare(OffsetDateTime::now_utc(), theirs),
            None => Finding::bad(Subject::Clock, "the answer has no time: is this AWS, or a proxy's page?"),
        }
    }

    async fn health_of_endpoint(&self, name: &str) -> Finding {
        match self.endpoint(name).await {
            Ok(None) => {
                let says =
                    format!("there is no endpoint {name} in {}; endpoints belong to a region", self.region);
                Finding::bad(Subject::Endpoint, says)
            }
            Ok(Some(endpoint)) if endpoint.in_service() => {
                let kind = if endpoint.answers.is_some() { "asynchronous" } else { "real-time" };
                Finding::good(Subject::Endpoint, format!("{name} is in service ({kind})"))
            }
            Ok(Some(endpoint)) => {
                let why = endpoint.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let says =
                    format!("{name} is {}{why}; it must be InService before it answers", endpoint.status);
                Finding::bad(Subject::Endpoint, says)
            }
            Err(error) => Finding::bad(Subject::Endpoint, error.to_string()),
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
        // S3 tells the region of whatever bucket, even in an answer that is none.
        let region = error.raw_response().and_then(|response| response.headers().get("x-amz-bucket-region"));
        if let Some(region) = region.filter(|region| **region != self.region) {
            return self.region_of_bucket(name, region);
        }
        if is_missing(&error) {
            return Finding::bad(
                Subject::Bucket,
                format!("there is no bucket {name}; create it, or look for a typo"),
            );
        }
        let error = AwsError::of("look at the bucket (s3:ListBucket)")(error);
        Finding::bad(Subject::Bucket, error.to_string())
    }

    fn region_of_bucket(&self, name: &str, region: &str) -> Finding {
        if region == self.region {
            Finding::good(Subject::Bucket, format!("{name} is there, in {region}"))
        } else {
            let way_out = format!("set --region {region}, or s3_region, so that links are signed for it");
            Finding::bad(
                Subject::Bucket,
                format!("{name} is in {region} and not in {}; {way_out}", self.region),
            )
        }
    }
}

fn health_of_stack(name: &StackName, there: Result<&Option<State>, &AwsError>) -> Finding {
    let state = match there {
        Ok(None) => return Finding::good(Subject::Stack, format!("there is no stack {name} yet")),
        Ok(Some(state)) => state,
        Err(error) => return Finding::bad(Subject::Stack, error.to_string()),
    };
    let status = &state.status;
    if state.is_changing() {
        Finding::good(Subject::Stack, format!("{name} is being changed ({status})"))
    } else if status.contains("FAILED") || status == "ROLLBACK_COMPLETE" {
        let way_out = "remove it with `tintype destroy` and deploy again";
        Finding::bad(Subject::Stack, format!("{name} is {status}; {way_out}"))
    } else {
        Finding::good(Subject::Stack, format!("{name} is {status}"))
    }
}

fn compare(ours: OffsetDateTime, theirs: OffsetDateTime) -> Finding {
    let skew = ours - theirs;
    let (seconds, side) = (skew.whole_seconds().abs(), if skew.is_negative() { "behind" } else { "ahead" });
    if skew.unsigned_abs() > LARGEST_SKEW {
        let says = format!("{seconds} s {side} of AWS, which will refuse signatures; set it, best by NTP");
        Finding::bad(Subject::Clock, says)
    } else {
        Finding::good(Subject::Clock, format!("{seconds} s {side} of AWS"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn clocks() {
        let noon = datetime!(2026-11-23 12:00 UTC);
        assert_eq!(compare(noon, datetime!(2026-11-23 11:55:01 UTC)).verdict, Verdict::Good);
        let late = compare(noon, datetime!(2026-11-23 12:06 UTC));
        assert_eq!(late.verdict, Verdict::Bad);
        assert!(late.says.starts_with("360 s behind"), "{late}");
    }

    #[test]
    fn a_date_as_servers_write_it_is_read() {
        let read = OffsetDateTime::parse("Mon, 23 Nov 2026 12:00:00 GMT", &Rfc2822).expect("a date");
        assert_eq!(read, datetime!(2026-11-23 12:00 UTC));
    }
}
