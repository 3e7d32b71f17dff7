//! What is wrong with a request, by parameter.

use std::fmt;

/// One thing wrong with one parameter. The parameter carries the native API's name; a dialect that calls it
/// something else renames it with [`Violation::renamed`].
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The parameter's name as the client wrote it, for example `width`.
    pub parameter: String,
    /// What is wrong with its value.
    pub kind: ViolationKind,
}

/// The ways in which a parameter's value can be wrong. `Display` is the sentence a client reads.
#[derive(Clone, Debug, PartialEq)]
pub enum ViolationKind {
    /// A required parameter is absent.
    Missing,
    /// Present, but empty or nothing but white space.
    Empty,
    /// More characters than the limit.
    TooLong {
        /// The largest number of characters.
        limit: usize,
        /// How many there were.
        actual: usize,
    },
    /// Not a value of the expected kind; `expected` completes "must be …".
    Malformed {
        /// For example `a whole number`.
        expected: String,
    },
    /// Below the smallest or above the largest value.
    OutOfRange {
        /// The smallest value, as written in the message.
        min: String,
        /// The largest value, as written in the message.
        max: String,
    },
    /// Not a multiple of this number.
    NotMultipleOf(u32),
    /// The picture has more pixels than one picture may have.
    TooManyPixels {
        /// The largest `width × height`.
        limit: u64,
        /// What was asked for.
        actual: u64,
    },
    /// `width × height × steps × n` is above the limit.
    TooMuchWork {
        /// The limit, in pixel-steps.
        limit: u64,
        /// What was asked for, in pixel-steps.
        actual: u64,
    },
    /// The engine would need more memory than it may use.
    TooMuchMemory {
        /// The limit in bytes.
        limit: u64,
        /// The estimate in bytes.
        actual: u64,
    },
    /// No such parameter; the text lists those there are.
    Unknown {
        /// The parameters that this call knows.
        known: String,
    },
    /// The parameter was given more than once.
    Repeated,
    /// The bytes are not valid UTF-8.
    NotUtf8,
}

impl Violation {
    /// A violation of the parameter with this name.
    pub fn new(parameter: impl Into<String>, kind: ViolationKind) -> Self {
        Self { parameter: parameter.into(), kind }
    }

    /// "must be `expected`", for a value of the wrong kind.
    pub fn malformed(parameter: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(parameter, ViolationKind::Malformed { expected: expected.into() })
    }

    /// The same violation under the name that a dialect uses for the parameter.
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
                write!(f, "must be at most {limit} characters long; this one has {actual}")
            }
            Self::Malformed { expected } => write!(f, "must be {expected}"),
            Self::OutOfRange { min, max } => write!(f, "must be between {min} and {max}"),
            Self::NotMultipleOf(unit) => write!(f, "must be a multiple of {unit}"),
            Self::TooManyPixels { limit, actual } => {
                write!(f, "asks for a picture of {actual} pixels (width × height); the limit is {limit}")
            }
            Self::TooMuchWork { limit, actual } => write!(
                f,
                "asks for too much work: width × height × steps × n is {actual}; the limit is {limit}"
            ),
            Self::TooMuchMemory { limit, actual } => write!(
                f,
                "asks for a picture that needs about {} MiB of memory; the limit is {} MiB",
                actual >> 20,
                limit >> 20
            ),
            Self::Unknown { known } => write!(f, "is not a parameter of this call; it knows {known}"),
            Self::Repeated => f.write_str("was given more than once"),
            Self::NotUtf8 => f.write_str("is not valid UTF-8"),
        }
    }
}
