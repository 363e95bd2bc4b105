//! What can be wrong with a compose file.

use super::{MAX_SERVICES, MAX_VARIABLE};

/// Why a compose file can't be an app's.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The document is not what compose prints.
    #[error("the normalised compose file has {what}")]
    Shape {
        /// What is out of place.
        what: String,
    },
    /// More services than one app may have.
    #[error("{count} services, and {MAX_SERVICES} are allowed")]
    TooManyServices {
        /// How many there are.
        count: usize,
    },
    /// A variable is larger than any configuration.
    #[error("service {service}: {variable} has {bytes} bytes, and {MAX_VARIABLE} are allowed")]
    TooLarge {
        /// The service.
        service: String,
        /// The variable.
        variable: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A variable is neither YAML nor JSON.
    #[error("service {service}: {variable} is neither YAML nor JSON")]
    Syntax {
        /// The service.
        service: String,
        /// The variable.
        variable: &'static str,
        /// The parser's complaint, with line and column.
        source: serde_yaml::Error,
    },
    /// A variable is YAML, but not of the expected form.
    #[error("service {service}: {variable} is not {expected}")]
    Form {
        /// The service.
        service: String,
        /// The variable.
        variable: &'static str,
        /// The expected form.
        expected: &'static str,
    },
    /// The name of a service, container or volume that Docker would not take, or that could be misread.
    #[error("{what} {name:?} is not a plain name (letters, digits and _ . -)")]
    Name {
        /// Service, container or volume.
        what: &'static str,
        /// The name.
        name: String,
    },
}
