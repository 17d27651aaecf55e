//! A step that can fail, with its name.

use crate::protocol::SetupFailure;
use crate::sys::Errno;

/// A step of the setup that failed, with the kernel's reason.
pub(crate) type Step<T> = Result<T, SetupFailure>;

/// Names the step in front of an error.
pub(crate) fn step<T>(name: impl Into<String>, result: Result<T, Errno>) -> Step<T> {
    result.map_err(|errno| SetupFailure {
        step: name.into(),
        errno,
    })
}
