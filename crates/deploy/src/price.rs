//! A cost estimate, shown before `tintype deploy` asks for confirmation.

use std::fmt;

use crate::binary::Architecture;
use crate::plan::{ModelLocation, Plan};

/// The month of the prices below: US dollars in us-east-1, without free tiers and taxes. They were entered
/// without access to AWS's price pages (lambda/pricing, api-gateway/pricing, s3/pricing, cloudwatch/pricing,
/// sagemaker/pricing); an instance's price may be off by 20%. Other regions cost up to 50% more.
const PRICES_AS_OF: &str = "2025-11";
/// One GB of function memory for one second, on x86-64.
const GB_SECOND: f64 = 0.000_016_666_7;
/// One GB of function memory for one second, on arm64.
const GB_SECOND_ARM: f64 = 0.000_013_333_4;
/// One function invocation.
const CALL: f64 = 0.20e-6;
/// One request to a REST API.
const REQUEST: f64 = 3.50e-6;
/// One PUT or LIST request to S3.
const PUT: f64 = 5.0e-6;
/// One GET request to S3.
const GET: f64 = 0.4e-6;
/// Two alarms and one metric for one hour (0.10 and 0.30 per month).
const ALARMS: f64 = 0.50 / 730.0;

/// S3 write requests per image: the image and its records.
const PUTS_PER_PICTURE: f64 = 10.0;
/// S3 read requests per image.
const GETS_PER_PICTURE: f64 = 10.0;
/// Assumed generation time of an image, in seconds.
const SECONDS_PER_PICTURE: f64 = 5.0;

/// Price per hour of real-time hosting, by instance type.
const INSTANCES: &[(&str, f64)] = &[
    ("ml.c5.xlarge", 0.204),
    ("ml.c5.2xlarge", 0.408),
    ("ml.m5.xlarge", 0.23),
    ("ml.g4dn.xlarge", 0.7364),
    ("ml.g4dn.2xlarge", 0.94),
    ("ml.g5.xlarge", 1.408),
    ("ml.g5.2xlarge", 1.515),
];

/// An estimate in US dollars. `Display` prints a short report.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Cost of one hour without requests; `None` if the instance's price is not in the table.
    pub idle_hour: Option<f64>,
    /// Cost of 1,000 images, in addition to the idle time.
    pub thousand_pictures: f64,
    notes: Vec<String>,
}

impl Estimate {
    /// Estimates the cost of a plan.
    pub fn of(plan: &Plan, architecture: Architecture) -> Self {
        let gb_second = match architecture {
            Architecture::X86_64 => GB_SECOND,
            Architecture::Arm64 => GB_SECOND_ARM,
        };
        let gigabytes = f64::from(plan.memory) / 1024.0;
        let asked = REQUEST + CALL + PUTS_PER_PICTURE * PUT + GETS_PER_PICTURE * GET;
        let mut thousand = 1_000.0 * (asked + gigabytes * gb_second * SECONDS_PER_PICTURE);
        let mut idle = Some(ALARMS);
        let mut notes = vec![format!("{SECONDS_PER_PICTURE} s per image")];
        match &plan.model {
            ModelLocation::InFunction { .. } => {}
            ModelLocation::ExistingEndpoint { name, .. } => {
                notes.push(format!("not included: the cost of endpoint {name}"));
            }
            ModelLocation::NewEndpoint { instance, asynchronous, .. } => {
                let hour = INSTANCES.iter().find(|(name, _)| name == instance).map(|(_, price)| *price);
                if *asynchronous {
                    notes.push("the endpoint scales to zero a few minutes after the last request".to_owned());
                    thousand += hour.unwrap_or_default() * 1_000.0 * SECONDS_PER_PICTURE / 3_600.0;
                } else {
                    idle = hour.map(|hour| hour + ALARMS);
                    notes.push("the endpoint costs as much when idle as when it generates images".to_owned());
                }
                if hour.is_none() {
                    notes.push(format!("not included: the price of {instance}, which is unknown here"));
                }
            }
        }
        Self { idle_hour: idle, thousand_pictures: thousand, notes }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.idle_hour {
            Some(dollars) => writeln!(f, "  idle, per hour    about ${dollars:.4}")?,
            None => writeln!(f, "  idle, per hour    the price of the instance")?,
        }
        writeln!(f, "  per 1,000 images  about ${:.2}", self.thousand_pictures)?;
        write!(f, "  (estimated from us-east-1 prices of {PRICES_AS_OF}: {})", self.notes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Response;

    fn estimate(model: ModelLocation) -> Estimate {
        let (memory, name) = (model.memory(), "tintype".parse().expect("a name"));
        let plan = Plan { name, model, response: Response::Stream, concurrency: 10, memory };
        Estimate::of(&plan, Architecture::X86_64)
    }

    fn new(instance: &str, asynchronous: bool) -> Estimate {
        estimate(ModelLocation::NewEndpoint {
            image: "i".into(),
            data: None,
            instance: instance.into(),
            asynchronous,
        })
    }

    #[test]
    fn a_function_costs_per_image() {
        let inside = estimate(ModelLocation::InFunction { folder: false });
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
    fn an_unknown_price_is_reported() {
        let unknown = new("ml.p9.huge", false);
        assert_eq!(unknown.idle_hour, None);
        assert!(unknown.to_string().contains("ml.p9.huge"), "{unknown}");
        assert!(
            estimate(ModelLocation::ExistingEndpoint { name: "sd".into(), outputs: None })
                .to_string()
                .contains("cost of endpoint sd")
        );
    }

    #[test]
    fn the_guide_has_the_same_figures() {
        let guide = include_str!("../../../docs/aws.md");
        let existing = ModelLocation::ExistingEndpoint { name: "sd".into(), outputs: None };
        for (begins, estimate) in [
            ("| model inside the function", estimate(ModelLocation::InFunction { folder: false })),
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
        assert!(guide.contains(&format!("prices of {PRICES_AS_OF}")));
    }
}
