//! What it will cost, roughly: for the question before it is spent.

use std::fmt;

use crate::binary::Architecture;
use crate::plan::{Plan, What};

/// The month as of which these prices were known, in US dollars for us-east-1 without free tiers and taxes. They were written down
/// without access to AWS's pages (lambda/pricing, api-gateway/pricing, s3/pricing, cloudwatch/pricing and sagemaker/pricing), so
/// an instance's may be off by a fifth. Other regions cost up to half as much again.
const AS_OF: &str = "2025-11";
/// A GB of a function's memory for a second, on Intel and AMD.
const GB_SECOND: f64 = 0.000_016_666_7;
/// The same on ARM.
const GB_SECOND_ARM: f64 = 0.000_013_333_4;
/// A function's call.
const CALL: f64 = 0.20e-6;
/// A request at a REST API.
const REQUEST: f64 = 3.50e-6;
/// A PUT or LIST at S3, and a GET.
const PUT: f64 = 5.0e-6;
const GET: f64 = 0.4e-6;
/// Two alarms and one metric, for an hour (0.10 and 0.30 a month).
const ALARMS: f64 = 0.50 / 730.0;

/// What a picture needs of S3: itself and its records.
const PUTS_PER_PICTURE: f64 = 10.0;
const GETS_PER_PICTURE: f64 = 10.0;
/// Seconds that a picture is assumed to take.
const SECONDS_PER_PICTURE: f64 = 5.0;

/// Real-time hosting by the hour.
const INSTANCES: &[(&str, f64)] = &[
    ("ml.c5.xlarge", 0.204),
    ("ml.c5.2xlarge", 0.408),
    ("ml.m5.xlarge", 0.23),
    ("ml.g4dn.xlarge", 0.7364),
    ("ml.g4dn.2xlarge", 0.94),
    ("ml.g5.xlarge", 1.408),
    ("ml.g5.2xlarge", 1.515),
];

/// An estimate in US dollars. It prints as a few lines for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// An hour in which nobody asks for anything; none if the instance's price is not known here.
    pub idle_hour: Option<f64>,
    /// A thousand pictures, beyond the idle time.
    pub thousand_pictures: f64,
    notes: Vec<String>,
}

impl Estimate {
    /// What this plan will cost.
    pub fn of(plan: &Plan, architecture: Architecture) -> Self {
        let gb_second = match architecture {
            Architecture::X86_64 => GB_SECOND,
            Architecture::Arm64 => GB_SECOND_ARM,
        };
        let gigabytes = f64::from(plan.memory) / 1024.0;
        let asked = REQUEST + CALL + PUTS_PER_PICTURE * PUT + GETS_PER_PICTURE * GET;
        let mut thousand = 1_000.0 * (asked + gigabytes * gb_second * SECONDS_PER_PICTURE);
        let mut idle = Some(ALARMS);
        let mut notes = vec![format!("{SECONDS_PER_PICTURE} s a picture")];
        match &plan.what {
            What::Inside { .. } => {}
            What::Existing { name, .. } => {
                notes.push(format!("without what {name} costs anyway"));
            }
            What::New { instance, asynchronous, .. } => {
                let hour = INSTANCES.iter().find(|(name, _)| name == instance).map(|(_, price)| *price);
                if *asynchronous {
                    notes.push("the endpoint scales to zero some minutes after the last picture".to_owned());
                    thousand += hour.unwrap_or_default() * 1_000.0 * SECONDS_PER_PICTURE / 3_600.0;
                } else {
                    idle = hour.map(|hour| hour + ALARMS);
                    notes.push("the endpoint costs the same whether it works or not".to_owned());
                }
                if hour.is_none() {
                    notes.push(format!("look up the price of {instance}, which is not in it"));
                }
            }
        }
        Self { idle_hour: idle, thousand_pictures: thousand, notes }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.idle_hour {
            Some(dollars) => writeln!(f, "  an hour idle         about ${dollars:.4}")?,
            None => writeln!(f, "  an hour idle         what the instance costs")?,
        }
        writeln!(f, "  a thousand pictures  about ${:.2}", self.thousand_pictures)?;
        write!(f, "  (an estimate from us-east-1's prices of {AS_OF}: {})", self.notes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Response;

    fn estimate(what: What) -> Estimate {
        let (memory, name) = (what.memory(), "tintype".parse().expect("a name"));
        let plan = Plan { name, what, response: Response::Stream, concurrency: 10, memory };
        Estimate::of(&plan, Architecture::X86_64)
    }

    fn new(instance: &str, asynchronous: bool) -> Estimate {
        estimate(What::New { image: "i".into(), data: None, instance: instance.into(), asynchronous })
    }

    #[test]
    fn a_function_costs_by_the_picture() {
        let inside = estimate(What::Inside { folder: false });
        // 3,008 MB for 5 s are 14.7 GB-seconds, and requests are 0.0577 thousandths.
        assert!((inside.thousand_pictures - (0.2448 + 0.0577)).abs() < 0.001, "{inside:?}");
        assert!(inside.idle_hour.expect("known") < 0.001);
        let text = inside.to_string();
        assert!(text.contains("about $0.30") && text.contains("estimate"), "{text}");
    }

    #[test]
    fn an_endpoint_costs_by_the_hour_unless_it_scales_to_zero() {
        let real_time = new("ml.g5.xlarge", false);
        assert!((real_time.idle_hour.expect("known") - 1.408).abs() < 0.01);
        let asynchronous = new("ml.g5.xlarge", true);
        assert!(asynchronous.idle_hour.expect("known") < 0.001);
        assert!(asynchronous.thousand_pictures > real_time.thousand_pictures + 1.9);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let unknown = new("ml.p9.huge", false);
        assert_eq!(unknown.idle_hour, None);
        assert!(unknown.to_string().contains("ml.p9.huge"), "{unknown}");
        assert!(
            estimate(What::Existing { name: "sd".into(), answers: None }).to_string().contains("sd costs")
        );
    }

    #[test]
    fn the_guide_has_the_same_figures() {
        let guide = include_str!("../../../docs/aws.md");
        let existing = What::Existing { name: "sd".into(), answers: None };
        for (begins, estimate) in [
            ("| model inside the function", estimate(What::Inside { folder: false })),
            ("| in front of an endpoint", estimate(existing)),
            ("| endpoint of its own on ml.g4dn.xlarge", new("ml.g4dn.xlarge", false)),
            ("| the same, `--async`", new("ml.g4dn.xlarge", true)),
        ] {
            let line = guide.lines().find(|line| line.starts_with(begins)).expect(begins);
            let idle = estimate.idle_hour.expect("known");
            let idle = if idle < 0.01 { format!("${idle:.4}") } else { format!("${idle:.2}") };
            let thousand = format!("${:.2}", estimate.thousand_pictures);
            assert!(line.contains(&idle) && line.contains(&thousand), "{line}: {idle}, {thousand}");
        }
        assert!(guide.contains(&format!("prices of {AS_OF}")));
    }
}
