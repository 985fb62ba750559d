//! [`DeployError`]: deployments that cannot be described.

use crate::error::Advice;
use crate::printable;

/// A deployment that cannot be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The configuration of an image is invalid.
    #[error("cannot read the configuration of {}: {reason}", printable::name(.image))]
    Config {
        /// The image.
        image: String,
        /// The reason.
        reason: String,
    },
    /// Settings of a process that the project does not define.
    #[error("process `{}` not found", printable::name(.name))]
    NoProcess {
        /// The name.
        name: String,
        /// The processes of the project.
        known: Vec<String>,
    },
    /// A value in the settings.
    #[error("invalid {key} `{}`: {reason}", printable::name(.value))]
    Value {
        /// The key: `deploy.env`.
        key: String,
        /// The value, which is no secret.
        value: String,
        /// The reason.
        reason: &'static str,
        /// The advice.
        help: String,
    },
    /// A variable that seems to hold a secret.
    #[error("cannot print the value of deploy.env.{}: {reason}", printable::name(.name))]
    Secret {
        /// The name of the variable.
        name: String,
        /// The reason.
        reason: &'static str,
    },
    /// A value that refers to a variable.
    #[error("cannot resolve `{}` in deploy.env.{}: values are literal", printable::name(.referred), printable::name(.name))]
    Reference {
        /// The variable with the value.
        name: String,
        /// The variable in the value.
        referred: String,
    },
    /// A target that has no place for the processes.
    #[error("cannot deploy {}: {reason}", printable::name(.subject))]
    Unsupported {
        /// The subject.
        subject: String,
        /// The reason.
        reason: String,
        /// The advice.
        help: &'static str,
    },
}

impl Advice for DeployError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Config { .. } => "build or fetch the image again".to_owned(),
            Self::NoProcess { name, known } => {
                match crate::suggest::nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("write [tool.ipo-oci.deploy.process.{near}]"),
                    None => format!("write one of {}", known.join(", ")),
                }
            }
            Self::Value { help, .. } => help.clone(),
            Self::Secret { name, .. } => {
                format!("add \"{name}\" to deploy.secrets, and keep its value where the target keeps secrets")
            }
            Self::Reference { name, .. } => {
                format!(
                    "add \"{name}\" to deploy.secrets, and keep its whole value where the target keeps secrets"
                )
            }
            Self::Unsupported { help, .. } => (*help).to_owned(),
        })
    }
}
