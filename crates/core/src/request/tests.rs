use super::*;
use crate::model::{Evaluations, Sampling};

fn model() -> ModelCard {
    ModelCard {
        name: "test".into(),
        width: 512,
        height: 512,
        steps: 20,
        guidance: 7.5,
        ..ModelCard::default()
    }
}

fn check(draft: Draft) -> Result<GenerateRequest, Vec<Violation>> {
    draft.check(&model(), &RequestLimits::for_model(&model()), 7)
}

fn draft_of(prompt: &str) -> Draft {
    Draft { prompt: Some(prompt.into()), ..Draft::default() }
}

fn kinds(draft: Draft) -> Vec<(String, ViolationKind)> {
    let violations = check(draft).expect_err("must be rejected");
    violations.into_iter().map(|violation| (violation.parameter, violation.kind)).collect()
}

#[test]
fn fills_in_the_models_defaults() {
    let request = check(draft_of("a tiger")).expect("valid");
    assert_eq!((request.width, request.height, request.steps, request.n), (512, 512, 20, 1));
    assert_eq!(request.seed, Seed::Random(7));
    assert_eq!(request.expires_in, Duration::from_secs(300));
    assert_eq!(request.format, Format::Jpeg);
}

#[test]
fn a_prompt_is_needed_and_bounded_in_characters() {
    assert_eq!(kinds(Draft::default()), [("prompt".into(), ViolationKind::Missing)]);
    assert_eq!(kinds(draft_of(" \n")), [("prompt".into(), ViolationKind::Empty)]);
    for invisible in ["\u{200B}", "\u{FEFF}\u{2060} ", "\u{AD}\u{3164}\u{0}", "\u{2800}\u{E0020}\u{FE0F}"] {
        assert_eq!(kinds(draft_of(invisible)), [("prompt".into(), ViolationKind::Empty)], "{invisible:?}");
    }
    assert!(check(draft_of("\u{200B}虎\u{FE0F}")).is_ok());
    assert!(check(draft_of(&"虎".repeat(2_000))).is_ok());
    let too_long = ViolationKind::TooLong { limit: 2_000, actual: 2_001 };
    assert_eq!(kinds(draft_of(&"虎".repeat(2_001))), [("prompt".into(), too_long)]);
}

#[test]
fn minus_one_is_a_random_seed() {
    let seed = |seed| check(Draft { seed: Some(seed), ..draft_of("x") }).map(|request| request.seed);
    assert_eq!(seed(-1), Ok(Seed::Random(7)));
    assert_eq!(seed(7), Ok(Seed::Explicit(7)));
    assert!(seed(-2).is_err());
}

#[test]
fn all_violations_are_reported_together() {
    let draft = Draft {
        width: Some(100),
        height: Some(-1),
        steps: Some(151),
        guidance: Some(f64::NAN),
        seed: Some(1 << 53),
        n: Some(0),
        expires_in: Some(604_801),
        ..draft_of("x")
    };
    let parameters: Vec<_> = kinds(draft).into_iter().map(|(parameter, _)| parameter).collect();
    assert_eq!(parameters, ["width", "height", "steps", "guidance", "n", "seed", "expires_in"]);
}

#[test]
fn area_and_work_are_bounded() {
    let draft = Draft { width: Some(776), height: Some(768), ..draft_of("x") };
    let too_large = ViolationKind::TooManyPixels { limit: 589_824, actual: 776 * 768 };
    assert_eq!(kinds(draft), [("width".into(), too_large)]);
    let draft = Draft { n: Some(10), steps: Some(21), ..draft_of("x") };
    let too_much = ViolationKind::TooMuchWork {
        limit: 52_428_800,
        actual: 512 * 512 * 210,
        evaluations: Evaluations::OncePerStep,
    };
    assert_eq!(kinds(draft), [("n".into(), too_much)]);
    assert!(check(Draft { width: Some(768), height: Some(768), ..draft_of("x") }).is_ok());
}

#[test]
fn steps_are_bounded_by_the_models_sampler() {
    let lcm = ModelCard { sampling: Sampling { max_steps: 50, ..Sampling::default() }, ..model() };
    let limits = RequestLimits::for_model(&lcm);
    let check = |steps| Draft { steps: Some(steps), ..draft_of("x") }.check(&lcm, &limits, 1);
    assert!(check(50).is_ok());
    let message = check(51).expect_err("more steps than the sampler has")[0].to_string();
    assert_eq!(message, "`steps` must be between 1 and 50");
}

#[test]
fn work_is_counted_in_evaluations_of_the_model() {
    let sampling = Sampling { evaluations: Evaluations::TwicePerStep, ..Sampling::default() };
    let heun = ModelCard { sampling, ..model() };
    let limits = RequestLimits::for_model(&heun);
    let check = |steps| Draft { steps: Some(steps), ..draft_of("x") }.check(&heun, &limits, 1);
    assert!(check(100).is_ok(), "199 evaluations");
    let message = check(101).expect_err("201 evaluations")[0].to_string();
    assert_eq!(
        message,
        "`steps` must be smaller: width × height × (2 × steps − 1) × n is 52690944; the maximum is \
         52428800. The model's scheduler evaluates it twice per step, but once in the last"
    );
}
