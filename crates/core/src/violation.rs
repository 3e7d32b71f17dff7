//! Invalid request parameters and their error messages.

use std::fmt;

use crate::model::Evaluations;

/// One problem with one parameter. The parameter has the native API's name; a dialect with another name for
/// it sets that name with [`Violation::renamed`].
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The parameter's name in the client's request, for example `width`.
    pub parameter: String,
    /// The problem.
    pub kind: ViolationKind,
}

/// The kinds of invalid parameters. `Display` is the predicate of an error message whose subject is the
/// parameter: "must not be empty".
#[derive(Clone, Debug, PartialEq)]
pub enum ViolationKind {
    /// A required parameter is absent.
    Missing,
    /// The value is empty or only white space.
    Empty,
    /// The text has more characters than the limit.
    TooLong {
        /// The maximum number of characters.
        limit: usize,
        /// The text's number of characters.
        actual: usize,
    },
    /// The value has the wrong type or syntax.
    Malformed {
        /// What the value must be, for example `a whole number`.
        expected: String,
    },
    /// The value is below the minimum or above the maximum.
    OutOfRange {
        /// The minimum, as written in the message.
        min: String,
        /// The maximum, as written in the message.
        max: String,
    },
    /// The value is not a multiple of this number.
    NotMultipleOf(u32),
    /// The image's area is above the limit.
    TooManyPixels {
        /// The maximum of `width × height`, in pixels.
        limit: u64,
        /// The request's `width × height`, in pixels.
        actual: u64,
    },
    /// `width × height × steps × n` is above the limit, where the model's evaluations count as steps.
    TooMuchWork {
        /// The limit, in pixel-steps.
        limit: u64,
        /// The request's work, in pixel-steps.
        actual: u64,
        /// How often the model is evaluated per step.
        evaluations: Evaluations,
    },
    /// The engine would need more memory than the limit.
    TooMuchMemory {
        /// The limit in bytes.
        limit: u64,
        /// The engine's estimate in bytes.
        actual: u64,
    },
    /// The request has no parameter with this name.
    Unknown {
        /// The request's parameters, separated by commas.
        known: String,
    },
    /// The parameter was given more than once.
    Repeated,
    /// The value is not valid UTF-8.
    NotUtf8,
}

impl Violation {
    /// A violation of the parameter with this name.
    pub fn new(parameter: impl Into<String>, kind: ViolationKind) -> Self {
        Self { parameter: parameter.into(), kind }
    }

    /// A [`Malformed`](ViolationKind::Malformed) violation; `expected` completes "must be …".
    pub fn malformed(parameter: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(parameter, ViolationKind::Malformed { expected: expected.into() })
    }

    /// The same violation with a dialect's name for the parameter.
    #[must_use]
    pub fn renamed(mut self, parameter: impl Into<String>) -> Self {
        self.parameter = parameter.into();
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.parameter, self.kind)
    }
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is required"),
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong { limit, actual } => {
                write!(f, "must be at most {limit} characters long; it has {actual}")
            }
            Self::Malformed { expected } => write!(f, "must be {expected}"),
            Self::OutOfRange { min, max } => write!(f, "must be between {min} and {max}"),
            Self::NotMultipleOf(unit) => write!(f, "must be a multiple of {unit}"),
            Self::TooManyPixels { limit, actual } => {
                write!(f, "must be smaller: width × height is {actual} pixels; the maximum is {limit}")
            }
            Self::TooMuchWork { limit, actual, evaluations } => {
                let factor = match evaluations {
                    Evaluations::OncePerStep => "steps",
                    Evaluations::TwicePerStep => "(2 × steps − 1)",
                };
                write!(
                    f,
                    "must be smaller: width × height × {factor} × n is {actual}; the maximum is {limit}"
                )?;
                match evaluations {
                    Evaluations::OncePerStep => Ok(()),
                    Evaluations::TwicePerStep => f.write_str(
                        ". The model's scheduler evaluates it twice per step, but once in the last",
                    ),
                }
            }
            Self::TooMuchMemory { limit, actual } => write!(
                f,
                "must be smaller: the request needs about {} MiB of memory; the maximum is {} MiB",
                actual >> 20,
                limit >> 20
            ),
            Self::Unknown { known } => {
                write!(f, "is not a parameter of this request; valid parameters: {known}")
            }
            Self::Repeated => f.write_str("must be given only once"),
            Self::NotUtf8 => f.write_str("must be valid UTF-8"),
        }
    }
}
