//! Puts tintype on AWS.
